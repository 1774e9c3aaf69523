"""PyTorch's operators in ONNX's words: a rule for each, which svertka's importer reads on.

A rule gets a `Call`, emits nodes and gives the names of its values. What has no rule, or a form without one, is emitted
under its own name: the importer refuses all of them together, by node. Nothing here imports PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from svertka import _onnx

#: A value, or several in a tuple.
Values: TypeAlias = str | tuple[str, ...]
Rule: TypeAlias = Callable[["Call"], Values]
SomeRule = TypeVar("SomeRule", bound=Rule)
Result = TypeVar("Result")


class Unsupported(Exception):
    """A form of an operator that has no rule: what is peculiar about it."""


class Call:
    """A node of a graph of PyTorch's, with its arguments by name."""

    def __init__(self, translation: Translation, node: Any) -> None:
        self._translation, self._node = translation, node
        arguments = node.target._schema.arguments
        self._arguments = {argument.name: argument.default_value for argument in arguments}
        self._arguments |= {argument.name: value for argument, value in zip(arguments, node.args, strict=False)}
        self._arguments |= node.kwargs

    def __getitem__(self, name: str) -> Any:
        """An argument that is no tensor."""
        value = self._arguments[name]
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if hasattr(item, "meta"):
                raise Unsupported(f"a computed `{name}`")
        return value

    def has(self, name: str) -> bool:
        return self._arguments.get(name) is not None

    def value(self, name: str) -> str:
        """A tensor, or a number as one; nothing where there is none."""
        return self._translation.value(self._arguments.get(name))

    def values(self, name: str) -> list[str]:
        return [self._translation.value(item) for item in self._arguments[name]]

    def shape(self, name: str) -> list[Any]:
        return sizes(self._arguments[name].meta["val"])

    def rank(self, name: str) -> int:
        return len(self.shape(name))

    def of_dims(self, name: str, count: int) -> list[int]:
        """Numbers of `count` dimensions, of which one may stand for all."""
        value = self[name]
        found = list(value) if isinstance(value, (list, tuple)) else [value]
        return found * count if len(found) == 1 else found

    @property
    def results(self) -> list[Any]:
        """What the node gives, without values."""
        result = self._node.meta["val"]
        return list(result) if isinstance(result, (list, tuple)) else [result]

    def emit(self, operator: str, *inputs: str, **attributes: _onnx.Attribute) -> str:
        return self._translation.emit(self._node, operator, inputs, 1, "", attributes)[0]

    def emit_several(self, operator: str, count: int, *inputs: str, **attributes: _onnx.Attribute) -> tuple[str, ...]:
        return self._translation.emit(self._node, operator, inputs, count, "", attributes)

    def emit_own(self, operator: str, *inputs: str, **attributes: _onnx.Attribute) -> str:
        """An operator that is svertka's and not ONNX's."""
        return self._translation.emit(self._node, operator, inputs, 1, "svertka", attributes)[0]

    def ints(self, numbers: Iterable[int]) -> str:
        return self._translation.constant(np.array(list(numbers), np.int64))

    def number(self, number: float) -> str:
        return self._translation.constant(np.array(number, np.float32))

    def fill(self, shape: Sequence[int], number: float) -> str:
        return self._translation.constant(np.full(shape, number, np.float32))


class Translation:
    """A graph of PyTorch's on its way to ONNX."""

    def __init__(self, name: str, place: Callable[[Any], str]) -> None:
        """`place` gives the path of the module that a node belongs to."""
        self.graph = _onnx.Graph(name)
        self._place = place
        self._values: dict[Any, Values] = {}
        self._constants = 0
        self._names: set[str] = set()
        self._inputs: set[str] = set()

    def input(self, node: Any) -> None:
        fake = node.meta["val"]
        shape = [f"{node.name}{axis}" if size is None else size for axis, size in enumerate(sizes(fake))]
        self.graph.input(node.name, _dtype(fake), shape)
        self._inputs.add(node.name)
        self._values[node] = node.name

    def tensor(self, node: Any, name: str, tensor: Any) -> None:
        """A tensor that is known, and given beside the model under this name."""
        # No value of a node has a dot in its name, and every tensor has.
        self.graph.tensor(name, _dtype(tensor), tensor.shape)
        self._values[node] = name

    def call(self, node: Any) -> None:
        """Emits a node, whose operands are known."""
        if _is_getitem(node):
            of, index = node.args
            parts = self._values[of]
            if index < len(parts):
                self._values[node] = parts[index]
            else:
                self._values[node] = self._foreign(of, Call(self, of), f" with its output {index}")[0]
            return
        call = Call(self, node)
        try:
            rule = RULES.get(operator(node))
            self._values[node] = rule(call) if rule else self._foreign(node, call, "")
        except Unsupported as peculiar:
            self._values[node] = self._foreign(node, call, f" with {peculiar}")

    def _foreign(self, node: Any, call: Call, peculiar: str) -> Values:
        operands = [self._values[operand] for operand in node.all_input_nodes if operand in self._values]
        names = [name for operand in operands for name in ((operand,) if isinstance(operand, str) else operand)]
        several = isinstance(node.meta["val"], (list, tuple))
        domain, _, name = operator(node).rpartition(".")
        domain = domain.partition(".")[0] if domain else "python"
        found = self.emit(node, f"{operator(node).removeprefix(domain + '.')}{peculiar}", names, len(call.results), domain, {})
        return found if several else found[0]

    def output(self, name: str, node: Any) -> None:
        """A value that is an output of this name, or a longer one where an input has it."""
        name = f"{name}_out" if name in self._inputs else name
        self.graph.node("Identity", [self.value(node)], [name], "", "", {})
        self.graph.output(name)

    def value(self, argument: Any) -> str:
        match argument:
            case None:
                return ""
            case int() | float():
                return self.constant(np.array(argument, np.float32))
            case _ if argument in self._values:
                value = self._values[argument]
                return value if isinstance(value, str) else value[0]
            case _:
                raise Unsupported("a number that depends on the batch")

    def emit(
        self, node: Any, operator: str, inputs: Iterable[str], count: int, domain: str, attributes: dict[str, _onnx.Attribute]
    ) -> tuple[str, ...]:
        name = self._unique(node.name)
        # No input or output of the network has such a name.
        outputs = tuple(f"{name}:{index}" for index in range(count))
        self.graph.node(operator, inputs, outputs, f"/{self._place(node)}/{name}", domain, attributes)
        return outputs

    def constant(self, array: np.ndarray[Any, Any]) -> str:
        self._constants += 1
        name = f"constant:{self._constants}"
        self.graph.constant(name, array)
        return name

    def _unique(self, name: str) -> str:
        unique, count = name, 1
        while unique in self._names:
            count += 1
            unique = f"{name}.{count}"
        self._names.add(unique)
        return unique


def operator(node: Any) -> str:
    """An operator as the rules name it: `aten.add.Tensor`, and `aten.relu` for what has one form only."""
    return str(node.target).removesuffix(".default")


def sizes(tensor: Any) -> list[Any]:
    """The sizes of a tensor; `None` for one that is open."""
    return [dim if isinstance(dim, int) else dim.node.maybe_as_int() for dim in tensor.shape]


def _is_getitem(node: Any) -> bool:
    return getattr(node.target, "__name__", "") == "getitem"


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[SomeRule], SomeRule]:
    """Makes a function the rule of operators of these names."""

    def register(of: SomeRule) -> SomeRule:
        RULES.update((f"aten.{name}", of) for name in names)
        return of

    return register


def _named(operator: str, operand: str = "self", **attributes: _onnx.Attribute) -> Rule:
    """An operator that means the same in both."""
    return lambda c: c.emit(operator, c.value(operand), **attributes)


for _name, _operator in {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "hardswish": "HardSwish", "silu": "Swish", "mish": "Mish", "exp": "Exp",
    "sqrt": "Sqrt", "abs": "Abs", "reciprocal": "Reciprocal", "neg": "Neg", "selu": "Selu",
}.items():  # fmt: skip
    rule(_name)(_named(_operator))
rule("hardsigmoid")(_named("HardSigmoid", alpha=1 / 6, beta=0.5))
rule("relu6")(lambda c: c.emit("Clip", c.value("self"), c.number(0), c.number(6)))
rule("rsqrt")(lambda c: c.emit("Reciprocal", c.emit("Sqrt", c.value("self"))))


@rule("hardtanh")
def _hardtanh(c: Call) -> Values:
    return c.emit("Clip", c.value("self"), c.value("min_val"), c.value("max_val"))


@rule("clamp", "clamp_min", "clamp_max")
def _clamp(c: Call) -> Values:
    return c.emit("Clip", c.value("self"), c.value("min"), c.value("max"))


@rule("gelu")
def _gelu(c: Call) -> Values:
    return c.emit("Gelu", c.value("self"), approximate=c["approximate"])


@rule("leaky_relu")
def _leaky_relu(c: Call) -> Values:
    return c.emit("LeakyRelu", c.value("self"), alpha=float(c["negative_slope"]))


@rule("celu")
def _celu(c: Call) -> Values:
    return c.emit("Celu", c.value("self"), alpha=float(c["alpha"]))


@rule("elu")
def _elu(c: Call) -> Values:
    if c["scale"] == 1 and c["input_scale"] == 1:
        return c.emit("Elu", c.value("self"), alpha=float(c["alpha"]))
    return c.emit("Selu", c.value("self"), alpha=float(c["alpha"]), gamma=_only(c, "input_scale", 1, float(c["scale"])))


@rule("softplus")
def _softplus(c: Call) -> Values:
    return _only(c, "beta", 1, c.emit("Softplus", c.value("self")))


@rule("threshold")
def _threshold(c: Call) -> Values:
    return _only(c, "value", 0, c.emit("ThresholdedRelu", c.value("self"), alpha=float(c["threshold"])))


def _only(c: Call, argument: str, known: object, result: Result) -> Result:
    """The result, where an argument has the only value that is known."""
    if c[argument] != known:
        raise Unsupported(f"`{argument}` {c[argument]}")
    return result


@rule("prelu")
def _prelu(c: Call) -> Values:
    ones = [1] * max(c.rank("self") - 2, 0)
    return c.emit("PRelu", c.value("self"), c.emit("Reshape", c.value("weight"), c.ints([-1, *ones])))


@rule("softmax.int", "_softmax")
def _softmax(c: Call) -> Values:
    return c.emit("Softmax", c.value("self"), axis=c["dim"])


@rule("log_softmax.int", "_log_softmax")
def _log_softmax(c: Call) -> Values:
    return c.emit("LogSoftmax", c.value("self"), axis=c["dim"])


def _scaled(c: Call, name: str) -> str:
    """An operand times `alpha`."""
    alpha = c["alpha"]
    return c.value(name) if alpha == 1 else c.emit("Mul", c.value(name), c.number(alpha))


@rule("add.Tensor", "add.Scalar")
def _add(c: Call) -> Values:
    return c.emit("Add", c.value("self"), _scaled(c, "other"))


@rule("sub.Tensor", "sub.Scalar")
def _sub(c: Call) -> Values:
    return c.emit("Sub", c.value("self"), _scaled(c, "other"))


@rule("rsub.Scalar", "rsub.Tensor")
def _rsub(c: Call) -> Values:
    return c.emit("Sub", c.value("other"), _scaled(c, "self"))


def _binary(operator: str, other: str = "other") -> Rule:
    return lambda c: c.emit(operator, c.value("self"), c.value(other))


rule("mul.Tensor", "mul.Scalar")(_binary("Mul"))
rule("div.Tensor", "div.Scalar")(_binary("Div"))
rule("maximum")(_binary("Max"))
rule("minimum")(_binary("Min"))
rule("pow.Tensor_Scalar")(_binary("Pow", "exponent"))


def _same_padding(kernel: list[int], dilation: list[int]) -> list[int]:
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return [total // 2 for total in totals] + [total - total // 2 for total in totals]


@rule("conv1d", "conv2d", "conv3d", "conv1d.padding", "conv2d.padding", "conv3d.padding", "convolution")
def _conv(c: Call) -> Values:
    kernel = c.shape("weight")[2:]
    count = len(kernel)
    if c.has("transposed") and c["transposed"]:
        return _conv_transpose(c)
    dilation = c.of_dims("dilation", count)
    match c["padding"]:
        case "same":
            pads = _same_padding(kernel, dilation)
        case "valid":
            pads = [0] * (2 * count)
        case _:
            pads = c.of_dims("padding", count) * 2
    operands = [c.value("input"), c.value("weight"), c.value("bias")]
    strides = c.of_dims("stride", count)
    return c.emit("Conv", *operands, kernel_shape=kernel, strides=strides, pads=pads, dilations=dilation, group=c["groups"])


@rule("conv_transpose1d", "conv_transpose2d.input", "conv_transpose3d.input")
def _conv_transpose(c: Call) -> Values:
    kernel = c.shape("weight")[2:]
    names = {"strides": "stride", "dilations": "dilation", "output_padding": "output_padding"}
    attributes = {name: c.of_dims(of, len(kernel)) for name, of in names.items()}
    pads = c.of_dims("padding", len(kernel)) * 2
    operands = [c.value("input"), c.value("weight"), c.value("bias")]
    return c.emit("ConvTranspose", *operands, kernel_shape=kernel, pads=pads, group=c["groups"], **attributes)


@rule("linear")
def _linear(c: Call) -> Values:
    if c.rank("input") == 2:
        return c.emit("Gemm", c.value("input"), c.value("weight"), c.value("bias"), transB=1)
    product = c.emit("MatMul", c.value("input"), c.emit("Transpose", c.value("weight"), perm=[1, 0]))
    return c.emit("Add", product, c.value("bias")) if c.has("bias") else product


@rule("addmm")
def _addmm(c: Call) -> Values:
    operands = [c.value("mat1"), c.value("mat2"), c.value("self")]
    return c.emit("Gemm", *operands, alpha=float(c["alpha"]), beta=float(c["beta"]))


rule("mm", "bmm")(_binary("MatMul", "mat2"))
rule("matmul")(_binary("MatMul"))


@rule("batch_norm", "_native_batch_norm_legit_no_training")
def _batch_norm(c: Call) -> Values:
    if not c.has("running_mean") or c.has("training") and c["training"]:
        raise Unsupported("the statistics of the batch")
    channels = c.shape("input")[1:2]
    weight = c.value("weight") or c.fill(channels, 1)
    bias = c.value("bias") or c.fill(channels, 0)
    statistics = c.value("running_mean"), c.value("running_var")
    y = c.emit("BatchNormalization", c.value("input"), weight, bias, *statistics, epsilon=float(c["eps"]))
    return y if len(c.results) == 1 else (y,)


@rule("instance_norm")
def _instance_norm(c: Call) -> Values:
    if not c["use_input_stats"]:
        return _batch_norm(c)
    channels = c.shape("input")[1:2]
    weight, bias = c.value("weight") or c.fill(channels, 1), c.value("bias") or c.fill(channels, 0)
    return c.emit("InstanceNormalization", c.value("input"), weight, bias, epsilon=float(c["eps"]))


@rule("group_norm")
def _group_norm(c: Call) -> Values:
    channels = c.shape("input")[1:2]
    weight, bias = c.value("weight") or c.fill(channels, 1), c.value("bias") or c.fill(channels, 0)
    return c.emit("GroupNormalization", c.value("input"), weight, bias, num_groups=c["num_groups"], epsilon=float(c["eps"]))


@rule("layer_norm", "native_layer_norm")
def _layer_norm(c: Call) -> Values:
    shape = list(c["normalized_shape"])
    weight = c.value("weight") or c.fill(shape, 1)
    y = c.emit("LayerNormalization", c.value("input"), weight, c.value("bias"), axis=-len(shape), epsilon=float(c["eps"]))
    return y if len(c.results) == 1 else (y,)


def _window(c: Call, count: int) -> dict[str, _onnx.Attribute]:
    kernel = c.of_dims("kernel_size", count)
    stride = c.of_dims("stride", count) or kernel
    pads = c.of_dims("padding", count) * 2
    return {"kernel_shape": kernel, "strides": stride, "pads": pads, "ceil_mode": int(c["ceil_mode"])}


@rule(*(f"max_pool{n}d{form}" for n in (1, 2, 3) for form in ("", "_with_indices")))
def _max_pool(c: Call) -> Values:
    count = c.rank("self") - 2
    y = c.emit("MaxPool", c.value("self"), dilations=c.of_dims("dilation", count), **_window(c, count))
    return y if len(c.results) == 1 else (y,)


@rule("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(c: Call) -> Values:
    if c.has("divisor_override"):
        raise Unsupported("`divisor_override`")
    window = _window(c, c.rank("self") - 2)
    return c.emit("AveragePool", c.value("self"), count_include_pad=int(c["count_include_pad"]), **window)


def _adaptive(kind: str, c: Call) -> Values:
    positions, results = c.shape("self")[2:], c.results
    wanted = sizes(results[0])[2:]
    if all(size == 1 for size in wanted):
        y = c.emit(f"Global{kind}Pool", c.value("self"))
    elif all(size % part == 0 for size, part in zip(positions, wanted, strict=True)):
        kernel = [size // part for size, part in zip(positions, wanted, strict=True)]
        y = c.emit(f"{kind}Pool", c.value("self"), kernel_shape=kernel, strides=kernel)
    else:
        # Windows of different sizes, which ONNX does not have.
        y = c.emit_own(f"Adaptive{kind}Pool", c.value("self"), output_size=wanted)
    return y if len(results) == 1 else (y,)


@rule("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def _adaptive_avg_pool(c: Call) -> Values:
    return _adaptive("Average", c)


@rule("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _adaptive_max_pool(c: Call) -> Values:
    return _adaptive("Max", c)


def _reduction(operator: str) -> Rule:
    def reduce(c: Call) -> Values:
        axes = c["dim"] if isinstance(c["dim"], (list, tuple)) else [c["dim"]]
        y = c.emit(operator, c.value("self"), c.ints(axes), keepdims=int(c["keepdim"]))
        return y if len(c.results) == 1 else (y,)

    return reduce


rule("mean.dim")(_reduction("ReduceMean"))
rule("sum.dim_IntList")(_reduction("ReduceSum"))
rule("amax", "max.dim")(_reduction("ReduceMax"))
rule("amin", "min.dim")(_reduction("ReduceMin"))


@rule("linalg_vector_norm")
def _norm(c: Call) -> Values:
    operators = {1: "ReduceL1", 2: "ReduceL2"}
    if c["ord"] not in operators or not c.has("dim"):
        raise Unsupported(f"`ord` {c['ord']}, `dim` {c['dim']}")
    return _reduction(operators[c["ord"]])(c)


@rule("cat")
def _cat(c: Call) -> Values:
    return c.emit("Concat", *c.values("tensors"), axis=c["dim"])


@rule("stack")
def _stack(c: Call) -> Values:
    axis = c["dim"]
    return c.emit("Concat", *(c.emit("Unsqueeze", x, c.ints([axis])) for x in c.values("tensors")), axis=axis)


@rule("split.Tensor", "split_with_sizes", "chunk")
def _split(c: Call) -> Values:
    axis, parts = c["dim"], c.results
    if None in (lengths := [sizes(part)[axis] for part in parts]):
        raise Unsupported("parts of the batch")
    return c.emit_several("Split", len(parts), c.value("self"), c.ints(lengths), axis=axis)


@rule("unbind.int")
def _unbind(c: Call) -> Values:
    axis, parts = c["dim"], c.results
    split = c.emit_several("Split", len(parts), c.value("self"), c.ints([1] * len(parts)), axis=axis)
    return tuple(c.emit("Squeeze", part, c.ints([axis])) for part in split)


#: Behind the end of any axis.
_END = (1 << 63) - 1


def _sliced(c: Call, start: int, end: int, step: int) -> str:
    ints = c.ints([start]), c.ints([end]), c.ints([c["dim"]]), c.ints([step])
    return c.emit("Slice", c.value("self"), *ints)


@rule("slice.Tensor")
def _slice(c: Call) -> Values:
    start, end = c["start"] or 0, _END if c["end"] is None else c["end"]
    whole = start == 0 and end >= _END and c["step"] == 1
    return c.value("self") if whole else _sliced(c, start, end, c["step"])


@rule("select.int")
def _select(c: Call) -> Values:
    index = c["index"]
    part = _sliced(c, index, _END if index == -1 else index + 1, 1)
    return c.emit("Squeeze", part, c.ints([c["dim"]]))


@rule("view", "reshape", "_unsafe_view", "flatten.using_ints", "unflatten.int", "unsqueeze", "squeeze", "squeeze.dim", "squeeze.dims")
def _reshape(c: Call) -> Values:
    # One size may depend on the batch, which is what is left then.
    shape = [-1 if size is None else size for size in sizes(c.results[0])]
    if shape.count(-1) > 1:
        raise Unsupported("several sizes that depend on the batch")
    return c.emit("Reshape", c.value("self"), c.ints(shape))


@rule("permute")
def _permute(c: Call) -> Values:
    rank = c.rank("self")
    return c.emit("Transpose", c.value("self"), perm=[dim % rank for dim in c["dims"]])


@rule("transpose.int", "t")
def _transpose(c: Call) -> Values:
    perm = list(range(c.rank("self")))
    a, b = (c["dim0"], c["dim1"]) if c.has("dim0") else (0, -1)
    perm[a], perm[b] = perm[b], perm[a]
    return c.emit("Transpose", c.value("self"), perm=perm)


@rule("expand")
def _expand(c: Call) -> Values:
    new, old = sizes(c.results[0]), c.shape("self")
    old = [1] * (len(new) - len(old)) + old
    shape = [1 if size is None or size == own else size for size, own in zip(new, old, strict=True)]
    is_same = set(shape) <= {1} and len(shape) == c.rank("self")
    return c.value("self") if is_same else c.emit("Expand", c.value("self"), c.ints(shape))


@rule("contiguous", "clone", "alias", "detach")
def _same(c: Call) -> Values:
    return c.value("self")


@rule("_to_copy", "to.dtype")
def _converted(c: Call) -> Values:
    # All that is computed is float32 here.
    if not str(c.results[0].dtype).removeprefix("torch.").startswith(("float", "bfloat")):
        raise Unsupported(f"`dtype` {c.results[0].dtype}")
    return c.value("self")


@rule("pixel_shuffle")
def _pixel_shuffle(c: Call) -> Values:
    return c.emit("DepthToSpace", c.value("self"), blocksize=c["upscale_factor"], mode="CRD")


@rule("channel_shuffle")
def _channel_shuffle(c: Call) -> Values:
    _, channels, *rest = c.shape("self")
    groups, dims = c["groups"], range(3, 3 + len(rest))
    x = c.emit("Reshape", c.value("self"), c.ints([-1, groups, channels // groups, *rest]))
    return c.emit("Reshape", c.emit("Transpose", x, perm=[0, 2, 1, *dims]), c.ints([-1, channels, *rest]))


@rule("pad")
def _pad(c: Call) -> Values:
    # Pairs for the last dimensions, the last first.
    padding, rank = c["pad"], c.rank("self")
    pads = [0] * (2 * rank)
    for index in range(len(padding) // 2):
        axis = rank - 1 - index
        pads[axis], pads[axis + rank] = padding[2 * index : 2 * index + 2]
    modes = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    return c.emit("Pad", c.value("self"), c.ints(pads), c.number(c["value"] or 0), mode=modes[c["mode"]])


def _resize(mode: str, place: str, nearest: str = "floor") -> Rule:
    def resize(c: Call) -> Values:
        operand = "input" if "input" in c._arguments else "self"
        corners = "align_corners" in c._arguments and c["align_corners"]
        coordinates = "align_corners" if corners else place
        words = {"mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": nearest}
        count = c.rank(operand) - 2
        factors = _factors(c, count)
        if factors and not corners:
            # They say where the positions lie; sizes alone would leave the rest to division.
            scales = c._translation.constant(np.array([1, 1, *factors], np.float32))
            return c.emit("Resize", c.value(operand), "", scales, **words)
        extent = c.ints(sizes(c.results[0])[2:])
        return c.emit("Resize", c.value(operand), "", "", extent, axes=list(range(2, 2 + count)), **words)

    return resize


def _factors(c: Call, count: int) -> list[float]:
    """The factors by which a value is said to be resized, if there are any."""
    if c.has("scale_factors"):
        return list(c["scale_factors"])
    names = {1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w")}[count]
    return [c[name] for name in names] if all(c.has(name) for name in names) else []


def _resizing(*names: str) -> list[str]:
    """In both forms: with factors of all dimensions together, and of each."""
    return [f"{name}{form}" for name in names for form in ("", ".vec")]


rule(*_resizing(*(f"upsample_nearest{n}d" for n in (1, 2, 3))))(_resize("nearest", "asymmetric"))
rule(*_resizing(*(f"_upsample_nearest_exact{n}d" for n in (1, 2, 3))))(_resize("nearest", "half_pixel", "round_prefer_ceil"))
rule(*_resizing("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"))(_resize("linear", "half_pixel"))
rule(*_resizing("upsample_bicubic2d"))(_resize("cubic", "half_pixel"))


def is_known(node: Any) -> bool:
    """Whether there is a rule for a node, or for what it takes a part of."""
    return is_known(node.args[0]) if _is_getitem(node) else operator(node) in RULES


def is_layer(node: Any) -> bool:
    """Whether an operator is worth a network of its own: convolutions, products with matrices, pools."""
    return any(word in operator(node) for word in ("conv", "linear", "mm", "matmul", "pool"))
