"""Symbolic tracing with torch.fx, where every proxy carries a concrete value (on the meta device: a shape).

Shapes, dtypes and everything else that is no tensor stay plain Python, so the control flow of Hugging Face
models runs as it is. Leaves are the modules none of whose children holds parameters (but see `is_leaf`): linear maps,
norms, routers, fused experts. Batch size and sequence length are baked into the graph.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import reduce
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from typing_extensions import override

from growc.nn.rewired import is_vector

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VALUE = "val"
"""The key of `node.meta` under which a node's concrete value lies."""


def value(node: fx.Node) -> Any:
    """The concrete value of a traced node."""
    return node.meta[VALUE]


def values(arguments: Any) -> Any:
    """Nested arguments of a node with every node replaced by its concrete value."""
    return map_aggregate(arguments, lambda item: value(item) if isinstance(item, fx.Node) else item)


def is_leaf(module: nn.Module) -> bool:
    """Whether no child module holds parameters, or just a number for each row of the module's own matrix.

    ERNIE's router keeps its selection bias in such a child.
    """
    inner = [parameter for child in module.children() for parameter in child.parameters()]
    rows = {parameter.shape[0] for parameter in module.parameters(recurse=False) if parameter.dim() == 2}
    return not inner or (len(rows) == 1 and all(is_vector(parameter, *rows) for parameter in inner))


def _holds_tensor(item: Any) -> bool:
    return isinstance(item, Tensor) or (isinstance(item, tuple | list) and any(map(_holds_tensor, item)))


class MetaProxy(fx.Proxy):
    """A proxy whose shape, dtype and device are those of its concrete value."""

    def __getattr__(self, name: str) -> Any:
        plain = getattr(value(self.node), name)
        return super().__getattr__(name) if callable(plain) or isinstance(plain, Tensor) else plain

    def __iter__(self) -> Iterator[Any]:
        indexed = cast(Any, self)  # fx gives proxies their operators when it is imported
        return (indexed[index] for index in range(len(self)))

    def __setitem__(self, index: Any, item: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, index, item), {})

    def __len__(self) -> int:
        return len(value(self.node))


class MetaTracer(fx.Tracer):
    """Traces a module on example inputs; the graph keeps each node's value in `node.meta["val"]`."""

    def __init__(self, inputs: dict[str, Tensor]) -> None:
        super().__init__()
        self.inputs = inputs
        self.computing = False
        """True while a node's value is computed: calls then go straight through instead of into the graph."""

    @override
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_leaf(m)

    @override
    def proxy(self, node: fx.Node) -> fx.Proxy:
        return MetaProxy(node, self)

    @override
    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self.computing else super().getattr(attr, attr_val, parameter_proxy_cache)

    @override
    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self.computing or m not in (self.submodule_paths or ()):  # a function that makes its module when called
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    @override
    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(kind, target, *args, **kwargs)
        if kind == "get_attr":  # fx makes these without create_proxy
            node.meta[VALUE] = self._compute(node)
        return node

    @override
    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **options: Any) -> Any:
        proxy = super().create_proxy(kind, target, args, kwargs, *more, **options)
        result = proxy.node.meta[VALUE] = self._compute(proxy.node)
        return proxy if _holds_tensor(result) else result

    def _compute(self, node: fx.Node) -> Any:
        args, kwargs = values(node.args), values(node.kwargs)
        outer, self.computing = self.computing, True
        try:
            match node.op:
                case "placeholder":
                    return self.inputs[str(node.target)]
                case "get_attr":
                    return reduce(getattr, str(node.target).split("."), self.root)
                case "call_module":
                    return self.root.get_submodule(str(node.target))(*args, **kwargs)
                case "call_function":
                    assert callable(node.target)
                    return node.target(*args, **kwargs)
                case "call_method":
                    return getattr(args[0], str(node.target))(*args[1:], **kwargs)
                case _:
                    raise AssertionError(node.op)
        finally:
            self.computing = outer


class _TokensToLogits(nn.Module):
    """A model with the plain signature that fx can trace, and the model's own names for everything inside."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.source = (model,)  # in a tuple, so that it does not become a submodule and prefix every name
        for name, child in model.named_children():
            self.add_module(name, child)
        for name, parameter in model.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, buffer in model.named_buffers(recurse=False):
            self.register_buffer(name, buffer)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.source[0].forward(input_ids=input_ids, use_cache=False).logits


def _has_effect(node: fx.Node) -> bool:
    """In-place methods end in an underscore; to drop one for lack of users would change what comes after."""
    return node.is_impure() or node.target is operator.setitem or str(node.target).endswith("_")


def trace(model: PreTrainedModel, sequence_length: int) -> fx.GraphModule:
    """The graph from `input_ids` of shape (1, sequence_length) to logits, on the model's own device."""
    root = _TokensToLogits(model)
    ids = torch.zeros(1, sequence_length, dtype=torch.long, device=model.device)
    with torch.no_grad():
        graph = MetaTracer({"input_ids": ids}).trace(root)
    module = fx.GraphModule(root, graph)  # first: purity is asked of the graph's owner
    graph.eliminate_dead_code(_has_effect)
    module.recompile()
    return module
