"""The battery: one list of properties, one list of cases, and what every operator must hold to."""
