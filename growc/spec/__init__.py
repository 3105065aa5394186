"""From YAML to a checked spec: values with their places, the schema, and its JSON form."""
