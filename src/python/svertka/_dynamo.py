"""The backend `svertka` of `torch.compile`."""

from __future__ import annotations

import copy
import importlib
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from svertka import _aten, _torch
from svertka._data import ModelError
from svertka._model import Model, compile

_log = logging.getLogger("svertka")

#: How often a graph is cut anew on account of nodes that turned out to be no layers.
_ROUNDS = 16

#: What modules that might be networks are called.
_PREFIX = "svertka_"

#: Nodes in messages of the importer, which knows them as `/MODULE/NODE`.
_NODE = re.compile(r"`/[^`]*?/?([^`/.]+)(?:\.\d+)?`")


def backend(graph: Any, example_inputs: Sequence[Any], *, options: Mapping[str, Any] | None = None) -> Callable[..., Any]:
    """What `torch.compile(model, backend="svertka")` calls.

    Parts of the graph that are layers run in svertka, the rest as PyTorch runs it. Parameters are packed when a shape of
    inputs is seen for the first time, and again where they were changed since. There are no gradients.

    options: `threads` of a call (those of PyTorch where nothing is said); `exact`, as of `svertka.load`; with `strict`, what
        no layer says is an error that lists it.
    """
    given = {"threads": _torch.torch().get_num_threads(), "exact": False, "strict": False, **(options or {})}
    unknown = sorted(set(given) - {"threads", "exact", "strict"})
    if unknown:
        raise ValueError(f"no options {', '.join(unknown)}; there are threads, exact and strict")
    _refuse_gradients(example_inputs)
    return _Network(graph, given)


def _refuse_gradients(inputs: Sequence[Any]) -> None:
    torch = _torch.torch()
    wanted = [item for item in inputs if isinstance(item, torch.Tensor) and item.requires_grad]
    if torch.is_grad_enabled() and wanted:
        raise RuntimeError("svertka computes no gradients: call the model under torch.inference_mode() or torch.no_grad()")


class _Network:
    """A graph, compiled for each shape of inputs that it is called with."""

    def __init__(self, graph: Any, options: Mapping[str, Any]) -> None:
        self._graph, self._options = graph, options
        self._by_shape: dict[tuple[Any, ...], _Shape] = {}

    def __call__(self, *inputs: Any) -> Any:
        torch = _torch.torch()
        key = tuple((item.shape, item.dtype) if isinstance(item, torch.Tensor) else item for item in inputs)
        of_shape = self._by_shape.get(key)
        if of_shape is None or not of_shape.is_current(inputs):
            of_shape = self._by_shape[key] = _Shape(self._graph, inputs, self._options)
        return of_shape.call(inputs)


class _Shape:
    """A graph for inputs of one shape each."""

    def __init__(self, graph: Any, inputs: Sequence[Any], options: Mapping[str, Any]) -> None:
        torch = _torch.torch()
        with torch.no_grad():
            program = _torch.decomposed(torch.export.export(graph, tuple(inputs), strict=False))
        self._outputs = program.graph_signature.output_specs
        self._names = _torch.user_inputs(program)
        held = _torch.held(program)
        self._held = {target: value for target, value in held.values()}
        self._watched = {index: _version(item) for index, item in enumerate(inputs) if _is_parameter(item)}
        given = dict(zip(self._names, inputs, strict=True))
        frozen = {name: (f".{name}", item) for name, item in given.items() if _is_parameter(item)} | held
        self._module = _taken(program.graph_module, frozen, options)

    def is_current(self, inputs: Sequence[Any]) -> bool:
        """Whether the parameters are those that were packed."""
        return all(_version(inputs[index]) == version for index, version in self._watched.items())

    def call(self, inputs: Sequence[Any]) -> tuple[Any, ...]:
        torch = _torch.torch()
        kinds = torch.export.graph_signature.OutputKind
        with torch.no_grad():
            found = self._module(*self._held.values(), *inputs)
            for value, spec in zip(found, self._outputs, strict=True):
                if spec.kind == kinds.USER_INPUT_MUTATION:
                    inputs[self._names.index(spec.target)].copy_(value)
                elif spec.kind == kinds.BUFFER_MUTATION:
                    self._held[spec.target].copy_(value)
        return tuple(value for value, spec in zip(found, self._outputs, strict=True) if spec.kind == kinds.USER_OUTPUT)


def _is_parameter(item: Any) -> bool:
    """Whether a tensor is a parameter or a buffer of a module, which Dynamo marks."""
    torch = _torch.torch()
    return isinstance(item, torch.nn.Parameter) or isinstance(item, torch.Tensor) and hasattr(item, "_dynamo_static_input_type")


def _version(tensor: Any) -> tuple[int, int]:
    # Nobody counts the changes of tensors of inference mode.
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


def _taken(graph: Any, frozen: Mapping[str, tuple[str, Any]], options: Mapping[str, Any]) -> Any:
    """The graph with its parts that are layers in svertka's hands."""
    refused: set[str] = set()
    reasons = [f"{_aten.operator(node)} of `{node.name}`: there is no layer for it" for node in graph.graph.nodes if _is_foreign(node)]
    for _ in range(_ROUNDS):
        cut = _cut(graph, refused)
        failures = [failure for part in _parts(cut) if (failure := _replace(cut, part, frozen, options))]
        if not failures:
            break
        reasons += [reason for reason, _ in failures]
        refused = refused.union(*(names for _, names in failures))
    # What was refused in the last round stays PyTorch's.
    if options["strict"] and reasons:
        raise RuntimeError("\n".join(["svertka does not take all of this graph:", *reasons]))
    for reason in reasons:
        _log.info("left to PyTorch: %s", reason)
    cut.recompile()
    return cut


def _is_foreign(node: Any) -> bool:
    return bool(node.op == "call_function" and not _aten.is_known(node))


def _cut(graph: Any, refused: set[str]) -> Any:
    """A copy of the graph with what might be networks as modules of their own."""
    partitioner = importlib.import_module("torch.fx.passes.infra.partitioner")

    def is_known(_modules: Any, node: Any) -> bool:
        return node.op == "call_function" and node.name not in refused and _aten.is_known(node)

    support = SimpleNamespace(is_node_supported=is_known)
    cutter = partitioner.CapabilityBasedPartitioner(copy.deepcopy(graph), support, allows_single_node_partition=True)
    found = cutter.propose_partitions()
    return cutter.fuse_partitions([part for part in found if any(map(_aten.is_layer, part.nodes))], prefix=_PREFIX)


def _parts(cut: Any) -> list[Any]:
    """The calls of modules that might be networks."""
    return [node for node in cut.graph.nodes if node.op == "call_module" and node.target.startswith(_PREFIX)]


def _replace(
    cut: Any, part: Any, frozen: Mapping[str, tuple[str, Any]], options: Mapping[str, Any]
) -> tuple[str, set[str]] | None:
    """Puts a network in the place of a module, or says why not, and which nodes are at fault."""
    module = getattr(cut, part.target)
    module.graph.eliminate_dead_code()
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    outer = dict(zip(placeholders, part.args, strict=True))
    held = {node.name: frozen[of.name] for node, of in outer.items() if of.name in frozen}
    inputs = [index for index, node in enumerate(placeholders) if node.name not in held and node.users]
    results = module.graph.output_node().args[0]
    outputs = list(results) if isinstance(results, (list, tuple)) else [results]
    try:
        names = [placeholders[index].name for index in inputs]
        named = {f"output{index}": node for index, node in enumerate(outputs)}
        imported, tensors = _torch.graph(part.target, module.graph, names, held, named)
        if len(imported.inputs) != len(inputs):
            raise ModelError("an input is not read")
        weights = _torch.weights(imported, tensors)
        model = compile(imported.text, weights=weights, threads=options["threads"], exact=options["exact"])
    except ModelError as refused:
        nodes = {node.name for node in module.graph.nodes if node.op == "call_function"}
        of_messages = set(_NODE.findall(str(refused))) & nodes
        return str(refused), of_messages or nodes
    delattr(cut, part.target)
    setattr(cut, part.target, _call(model, inputs, [node.meta["val"].shape for node in outputs], isinstance(results, (list, tuple))))
    return None


def _call(model: Model, inputs: Sequence[int], shapes: Sequence[Sequence[int]], several: bool) -> Any:
    """A module that calls a model with those of its arguments that are inputs."""
    torch = _torch.torch()

    def forward(_module: Any, *arguments: Any) -> Any:
        found = model(*(arguments[index].contiguous().numpy() for index in inputs))
        arrays = list(found.values()) if isinstance(found, dict) else [found]
        tensors = [torch.from_numpy(array).view(shape) for array, shape in zip(arrays, shapes, strict=True)]
        return tuple(tensors) if several else tensors[0]

    return type("Call", (torch.nn.Module,), {"forward": forward})()
