"""What the schema knows at a place of a spec: the keys that may stand there, and the variants."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from growc.operators import OPERATORS, Operator, operator
from growc.spec.nodes import MapNode, Node, Path, Scalar, child
from growc.spec.schema import Spec


def fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields by the names that they have in YAML."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def keys_at(root: Node, location: Path) -> dict[str, FieldInfo]:
    """The fields of the model at one of pydantic's locations; empty unless there is exactly one model."""
    models = _models(Spec, root, location)
    return fields(models[0]) if len(models) == 1 else {}


def variants_at(root: Node, location: Path, key: str) -> list[str]:
    """The values of `key` among which the variants at one of pydantic's locations differ."""
    return [str(tag) for model in _models(Spec, root, location) for tag in _tags(model, key)]


def _models(annotation: Any, node: Node, location: Path) -> list[type[BaseModel]]:
    """The models that `annotation` leaves open at `location`; pydantic names the chosen variants in it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _models(arguments[0], node, location)
    if origin in (Union, UnionType):
        for member in arguments:
            if location and any(location[0] in _tags(member, key) for key in _discriminators(member)):
                return _models(member, node, location[1:])
        return [model for member in arguments for model in _models(member, node, location)]
    if origin in (tuple, list) and location:
        item = annotation if isinstance(location[0], str) else arguments[0]
        return _models(item, child(node, location[0]) or node, location[1:])
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return []
    model = _chosen_operator(node) if annotation is Operator else annotation
    if model is None or not location:
        return [] if model is None else [model]
    step = location[0]
    field = fields(model).get(step) if isinstance(step, str) else None
    return _models(field.annotation, child(node, step) or node, location[1:]) if field else []


def _chosen_operator(node: Node) -> type[BaseModel] | None:
    match child(node, "op") if isinstance(node, MapNode) else None:
        case Scalar(str() as name) if name in OPERATORS:
            return operator(name)
        case _:
            return None


def _discriminators(member: Any) -> list[str]:
    """The fields by which a member of a union can be told from the others."""
    if not (isinstance(member, type) and issubclass(member, BaseModel)):
        return []
    return [key for key in member.model_fields if _tags(member, key)]


def _tags(model: type[BaseModel], key: str) -> tuple[object, ...]:
    field = model.model_fields.get(key)
    literal = cast(Any, field.annotation) if field else None
    return get_args(literal) if get_origin(literal) is Literal and len(get_args(literal)) == 1 else ()
