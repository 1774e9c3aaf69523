"""Modules of PyTorch as models."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from svertka import _aten, _svertka
from svertka._model import Model, compile

_log = logging.getLogger("svertka")


def torch() -> Any:
    """PyTorch, which only those need who have it."""
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError("this needs PyTorch: pip install torch", name="torch") from missing


class Exported:
    """A module of PyTorch as a text with its weights."""

    def __init__(self, imported: _svertka.Imported, tensors: Mapping[str, Any], module: Any, example: tuple[Any, ...]) -> None:
        self._imported, self._module, self._example = imported, module, example
        #: The model, in svertka's language.
        self.text: str = imported.text
        #: How the network differs from the module.
        self.remarks: list[str] = imported.remarks
        #: Weights by the text's names; those that the module has in the same form share its memory.
        self.state_dict = weights(imported, tensors)

    def compile(
        self,
        *,
        threads: int = 1,
        exact: bool = False,
        memory_limit: int = 8 << 30,
        packed: str | os.PathLike[str] | None = None,
    ) -> Model:
        """The model for this machine. Weights are copied, since they are packed: changes of the module do not show.

        Arguments are those of `svertka.compile`.
        """
        return compile(
            self.text, weights=self.state_dict, threads=threads, exact=exact, memory_limit=memory_limit, packed=packed
        )

    def save(self, folder: str | os.PathLike[str], name: str | None = None) -> Path:
        """Writes `NAME.cnn`, `NAME.safetensors` and the card `NAME.yaml` that joins them; gives the text's path.

        Named for the module's class where no name is given.
        """
        return Path(self._imported.save(os.fspath(folder), name or _name_of(self._module)))

    def verify(self, *inputs: Any, tolerance: float = 1e-4) -> float:
        """Compares the compiled model with the module, on the example or these inputs.

        Gives the largest difference as part of the largest output; above `tolerance` that is an `AssertionError`.
        """
        given = inputs or self._example
        with _inference(self._module):
            expected = [tensor.float().numpy() for tensor in _named_outputs(self._module(*given)).values()]
        found = self.compile()(*(tensor.detach().float().contiguous().numpy() for tensor in given))
        found = list(found.values()) if isinstance(found, dict) else [found]
        worst = 0.0
        for name, ours, theirs in zip(self._imported.outputs, found, expected, strict=True):
            if ours.size != theirs.size:
                raise AssertionError(f"output `{name}` has the shape {ours.shape}, the module's {theirs.shape}")
            difference = float(np.abs(ours.reshape(theirs.shape) - theirs).max() / max(np.abs(theirs).max(), 1e-30))
            # Not a number is no agreement.
            if not difference <= tolerance:
                raise AssertionError(f"output `{name}` differs by {difference:.1e} of the largest value, more than {tolerance:.1e}")
            worst = max(worst, difference)
        return worst

    def __repr__(self) -> str:
        return f"<svertka.Exported {_name_of(self._module)}: {len(self.text.splitlines())} lines, {len(self.state_dict)} weights>"


def from_torch(module: Any, example: Any, *, name: str | None = None) -> Exported:
    """A module of PyTorch, as it is in evaluation, as a text with labels, blocks and its weights.

    `example` is an input, or a tuple of them, of the sizes that are wanted; the first axis is the batch, which stays free
    where the module does not depend on it. Weights keep their names where a layer's are those of a module, and share its
    memory where they have the same form. What no layer says is refused together, as a `ModelError` that names the modules.
    """
    torch_ = torch()
    example = tuple(example) if isinstance(example, (list, tuple)) else (example,)
    wrong = [type(item).__name__ for item in example if not isinstance(item, torch_.Tensor)]
    if wrong or not example:
        raise TypeError(f"the example is a tensor, or a tuple of tensors: {wrong or 'nothing'}")
    with _inference(module):
        program = _export(module, example)
    imported, tensors = translate(program, name or _name_of(module))
    return Exported(imported, tensors, module, example)


def _export(module: Any, example: tuple[Any, ...]) -> Any:
    """The module in operators that are known, as far as there are any; for any number of samples, if it takes that."""
    torch_ = torch()
    # Sizes of 0 and 1 are taken for constants.
    several = tuple(torch_.cat([item, item]) if item.dim() and item.shape[0] == 1 else item for item in example)
    free = torch_.export.ShapesCollection()
    for item in several:
        free[item] = {0: torch_.export.Dim.AUTO} if item.dim() else {}
    try:
        program = torch_.export.export(module, several, dynamic_shapes=free, strict=False)
        inputs = set(user_inputs(program))
        shapes = [_aten.sizes(node.meta["val"]) for node in program.graph.nodes if node.name in inputs and _is_tensor(node)]
        is_free = all(shape[:1] == [None] for shape in shapes)
    except Exception as refused:  # noqa: BLE001 - whatever the module says of another batch
        _log.debug("not for any batch: %s", refused)
        is_free = False
    return decomposed(program if is_free else torch_.export.export(module, example, strict=False))


def decomposed(program: Any) -> Any:
    """An exported program without operators that no rule says but others do, and without changes in place."""
    torch_ = torch()
    table = torch_.export.default_decompositions()
    for known in [op for op in table if str(op).removesuffix(".default") in _aten.RULES]:
        del table[known]
    return program.run_decompositions(table)


def translate(program: Any, name: str) -> tuple[_svertka.Imported, dict[str, Any]]:
    """A program as svertka reads it, and the tensors that it holds."""
    inputs = user_inputs(program)
    outputs = [spec.arg.name for spec in program.graph_signature.output_specs]
    nodes = {node.name: node for node in program.graph.nodes}
    names = _output_names(program, len(outputs))
    return graph(name, program.graph, inputs, held(program), dict(zip(names, (nodes[of] for of in outputs), strict=True)))


def user_inputs(program: Any) -> list[str]:
    """The placeholders that are inputs."""
    kind = torch().export.graph_signature.InputKind.USER_INPUT
    return [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind == kind]


def held(program: Any) -> dict[str, tuple[str, Any]]:
    """Names and values of what the other placeholders are."""
    found, inputs = {}, set(user_inputs(program))
    for spec in program.graph_signature.input_specs:
        if spec.arg.name not in inputs:
            store = program.state_dict if spec.target in program.state_dict else program.constants
            found[spec.arg.name] = (spec.target, store[spec.target])
    return found


def graph(
    name: str, graph: Any, inputs: Sequence[str], held: Mapping[str, tuple[str, Any]], outputs: Mapping[str, Any]
) -> tuple[_svertka.Imported, dict[str, Any]]:
    """A graph of PyTorch's operators as svertka reads it, and the tensors that it holds.

    `held` has names and values of the placeholders that are no inputs.
    """
    translation = _aten.Translation(name, module_path)
    known: dict[Any, Any] = {}
    tensors: dict[str, Any] = {}

    def keep(node: Any, name: str, tensor: Any) -> None:
        known[node] = tensor
        if tensor.numel():
            tensors[name] = tensor.detach().cpu().contiguous()
            translation.tensor(node, name, tensors[name])

    for node in graph.nodes:
        if node.op == "placeholder" and node.name in inputs:
            if _is_tensor(node):
                translation.input(node)
        elif node.op == "placeholder":
            name, tensor = held[node.name]
            keep(node, name if "." in name else f".{name}", tensor)
        elif node.op == "call_function" and node.users and (_is_tensor(node) or isinstance(node.meta.get("val"), (list, tuple))):
            constant = _folded(node, known)
            if constant is None:
                translation.call(node)
            else:
                keep(node, f"{module_path(node)}.{node.name}", constant)
    for name, node in outputs.items():
        translation.output(name, node)
    bytes_of = {name: tensor.reshape(-1).view(torch().uint8).numpy() for name, tensor in tensors.items()}
    return _svertka.Imported(name, translation.graph.model(), bytes_of), tensors


def weights(imported: _svertka.Imported, tensors: Mapping[str, Any]) -> dict[str, npt.NDArray[np.float32]]:
    """The weights by the text's names: tensors of these where they are some as they are."""
    found = {}
    for name, shape, values in imported.weights():
        found[name] = (tensors[values].numpy() if isinstance(values, str) else values).reshape(shape)
    return found


def _folded(node: Any, known: Mapping[Any, Any]) -> Any:
    """The value of a node that depends on no input."""
    torch_ = torch()
    operands = node.all_input_nodes
    tags = getattr(node.target, "tags", ())
    if not _is_tensor(node) or torch_.Tag.nondeterministic_seeded in tags or any(of not in known for of in operands):
        return None
    if not all(isinstance(dim, int) for dim in node.meta["val"].shape):
        return None
    of_node = torch_.fx.node.map_arg
    with torch_.no_grad():
        return node.target(*of_node(node.args, known.get), **of_node(node.kwargs, known.get))


def _is_tensor(node: Any) -> bool:
    return isinstance(node.meta.get("val"), torch().Tensor)


def module_path(node: Any) -> str:
    """The path of the innermost module that a node was made for."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = stack[-1][0] if stack else ""
    # A module that is called again has its name with a number.
    return ".".join(part.partition("@")[0] for part in path.split("."))


def _output_names(program: Any, count: int) -> list[str]:
    names = list(_named_outputs(torch().utils._pytree.tree_unflatten(list(range(count)), program.call_spec.out_spec)))
    return names


def _named_outputs(outputs: Any) -> dict[str, Any]:
    """What a module gives, by names: the keys of a dictionary, else their places."""
    pytree = torch().utils._pytree
    leaves = pytree.tree_flatten_with_path(outputs)[0]
    words = ["_".join(str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", "")))) for key in path) for path, _ in leaves]
    named = {word if word and not word[0].isdigit() else f"output{word}": leaf for word, (_, leaf) in zip(words, leaves, strict=True)}
    if len(named) < len(leaves):
        named = {f"output{index}": leaf for index, (_, leaf) in enumerate(leaves)}
    return {name: leaf for name, leaf in named.items() if leaf is not None}


def _name_of(module: Any) -> str:
    return type(module).__name__.lower()


@contextmanager
def _inference(module: Any) -> Iterator[None]:
    """The module in evaluation and without gradients; afterwards all is as it was."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch().no_grad():
            yield
    finally:
        for part in training:
            part.training = True
