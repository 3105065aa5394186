"""The language: YAML with places, the schema, overrides, and loading with every mistake reported at once."""

from growc.spec.jsonschema import json_schema
from growc.spec.load import LoadedSpec, load
from growc.spec.schema import Spec

__all__ = ["LoadedSpec", "Spec", "json_schema", "load"]
