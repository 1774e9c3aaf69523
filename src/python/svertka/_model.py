"""Models."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from svertka import _svertka
from svertka._data import Class, Diagnostic

#: A file (PNG, JPEG, .npy, .npz), the bytes of a PNG or JPEG file, or pixels as uint8.
Picture: TypeAlias = str | os.PathLike[str] | bytes | npt.NDArray[np.uint8]
Weights: TypeAlias = str | os.PathLike[str] | Mapping[str, Any]


class Model(_svertka.Core):
    """A network, compiled for this machine; made by `load` and `compile`.

    A call computes its outputs: `m(x)`, `m(a, b)` or `m({"left": a, "right": b})` for several inputs. One output is an
    array, several are a dictionary. Inputs are arrays of float32 in C order, or objects with `__dlpack__` or `__array__`
    that give such arrays, and are read where they lie; others are refused. `out=` takes an array (a dictionary for
    several outputs) that is written to and returned: it can be written to, and is no memory of an input.

    The interpreter's lock is free during a call. Several threads may call one model at the same time: each call has
    memory of its own, packed weights are shared. Nobody should write to its arrays meanwhile: outputs would be undefined,
    as of NumPy's own functions.

    After `os.fork`, the child's calls run on their caller's thread alone, whatever `threads` was; `fork(threads)` gives a
    model with more. Pickled is what the model was made of (paths, not their content; a mapping of weights as a whole): it
    is opened and compiled again where it is unpickled.
    """

    def fork(self, threads: int | None = None) -> Model:
        """Another model of the same code and packed weights, with a number of threads of its own."""
        return type(self)(*self._arguments(self.threads if threads is None else threads), of=self)

    @overload
    def preprocess(
        self, pictures: Picture | Sequence[Picture], *, errors: Literal["raise"] = ..., input: str | None = ..., layout: str | None = ...
    ) -> npt.NDArray[np.float32]: ...

    @overload
    def preprocess(
        self, pictures: Picture | Sequence[Picture], *, errors: Literal["mask"], input: str | None = ..., layout: str | None = ...
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]: ...

    def preprocess(
        self,
        pictures: Picture | Sequence[Picture],
        *,
        errors: Literal["raise", "mask"] = "raise",
        input: str | None = None,
        layout: str | None = None,
    ) -> npt.NDArray[np.float32] | tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Pictures as an array for an input (the first unless named), prepared as the model's card says.

        With `errors="mask"` those that cannot be read are left out, and a second array tells for each picture whether it
        is there. `layout` (such as "NHWC") says what the dimensions of uint8 arrays mean where their shape does not.
        """
        if errors not in ("raise", "mask"):
            raise ValueError(f'errors is "raise" or "mask", not {errors!r}')
        array, held = self._preprocess(_listed(pictures), input, layout, errors == "mask")
        return (array, held) if errors == "mask" else array

    @overload
    def classify(self, pictures: Picture, top: int = ...) -> list[Class]: ...  # type: ignore[overload-overlap]

    @overload
    def classify(self, pictures: Sequence[Picture], top: int = ...) -> list[list[Class]]: ...

    def classify(self, pictures: Picture | Sequence[Picture], top: int = 5) -> list[Class] | list[list[Class]]:
        """The likeliest classes of a picture, or of each of a list of pictures."""
        classes = self.classes(self(self.preprocess(pictures)), top)
        return classes[0] if _is_one(pictures) and len(classes) == 1 else classes

    def classes(self, scores: npt.NDArray[np.float32] | Mapping[str, npt.NDArray[np.float32]], top: int = 5) -> list[list[Class]]:
        """The likeliest classes of each sample of the main output."""
        if isinstance(scores, Mapping):
            scores = scores[next(iter(self.outputs))]
        return self._classes(scores, top)

    @property
    def labels(self) -> npt.NDArray[np.str_]:
        """The names of the classes, to be indexed by arrays; empty where there are none."""
        return np.array(self._labels(), dtype=np.str_)

    def summary(self) -> Summary:
        """Shapes, parameters, multiply-accumulates, memory and receptive fields."""
        return Summary(*self._summary())

    def graph(self, stage: Literal["source", "fused", "plan"] = "source") -> Graph:
        """A drawing: as written, after fusion, or as kernels."""
        return Graph(self, stage)

    def __repr__(self) -> str:
        def ports(named: Mapping[str, tuple[int | str, ...]]) -> str:
            return ", ".join(f"{name} [{', '.join(map(str, shape))}]" for name, shape in named.items())

        return f"<svertka.Model {self.name}: {ports(self.inputs)} -> {ports(self.outputs)}>"


class Summary:
    """A model in figures: `str` is a table of text, notebooks show one of their own."""

    def __init__(self, table: str, figures: str) -> None:
        self._table, self._figures = table, figures

    def __str__(self) -> str:
        return self._table

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """All figures; what `svertka summary --format json` writes."""
        figures: dict[str, Any] = json.loads(self._figures)
        return figures

    def _repr_html_(self) -> str:
        figures = self.to_dict()

        def row(cells: Sequence[object], tag: str = "td") -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

        def cells(layer: dict[str, Any]) -> list[object]:
            field = layer["receptive_field"]
            seen = "x".join(map(str, field["size"])) if field["kind"] == "local" else field["kind"]
            output = "x".join(map(str, layer["output"]))
            return [layer["name"], layer["layer"], output, f"{layer['parameters']:,}", f"{layer['macs']:,}", seen]

        head = row(["name", "layer", "output", "parameters", "MACs", "field"], "th")
        body = "".join(row(cells(layer)) for layer in figures["layers"])
        foot = row(["total", "", "", f"{figures['parameters']:,}", f"{figures['macs']:,}", ""], "th")
        return f"<table><thead>{head}</thead><tbody>{body}</tbody><tfoot>{foot}</tfoot></table>"


class Graph:
    """A drawing of a network, which notebooks show."""

    def __init__(self, model: Model, stage: str) -> None:
        self._model, self._stage = model, stage
        self.svg  # noqa: B018 - what is wrong is said here

    @property
    def svg(self) -> str:
        """For browsers."""
        return self._model._draw(self._stage, "svg")

    @property
    def dot(self) -> str:
        """For Graphviz."""
        return self._model._draw(self._stage, "dot")

    @property
    def mermaid(self) -> str:
        """For Markdown."""
        return self._model._draw(self._stage, "mermaid")

    def _repr_svg_(self) -> str:
        return self.svg


def load(
    model: str | os.PathLike[str],
    /,
    *,
    weights: Weights | None = None,
    weights_key: str | None = None,
    seed: int | None = None,
    threads: int = 1,
    exact: bool = False,
    products: str = "f32",
    memory_limit: int = 8 << 30,
    aux: bool = False,
    packed: str | os.PathLike[str] | None = None,
    **params: Any,
) -> Model:
    """Opens and compiles a model: `FILE`, `FILE:VARIANT`, an ONNX file, or `zoo:NAME`, a network that comes along.

    weights: a file (safetensors, the index of one in several files, or what `torch.save` wrote), or arrays by their
        names, which are copied when they are packed; the model's own (of its ONNX file or card) where none are given.
    weights_key: which of several dictionaries of tensors in a file of `torch.save`.
    seed: random weights, for what does not depend on them.
    threads: of each call, the caller's included. They are nobody's but this model's, and not bound to cores.
    exact: only kernels that compute the sums of the layers' definitions: without Winograd convolution.
    products: `bf16` rounds what convolutions and dense layers multiply to eight bits of precision, where that is faster on CPUs
        of AMD from Zen 4 on; refused where the CPU has no AVX512_BF16.
    memory_limit: bytes that packed weights, values between layers, and working memory may take, each by itself.
    aux: with the auxiliary outputs that serve training.
    packed: a folder for files of packed weights: whoever loads the same model with the same weights again, on a CPU of the
        same kind, is ready without packing them, and all processes of a machine share their memory.
    params: parameters of the model and free sizes of its input: numbers, lists, names of blocks.
    """
    return _make(os.fspath(model), None, params, weights, weights_key, seed, exact, products, memory_limit, aux, packed, threads)


def compile(
    text: str,
    /,
    *,
    weights: Weights | None = None,
    weights_key: str | None = None,
    seed: int | None = None,
    threads: int = 1,
    exact: bool = False,
    products: str = "f32",
    memory_limit: int = 8 << 30,
    aux: bool = False,
    packed: str | os.PathLike[str] | None = None,
    **params: Any,
) -> Model:
    """As `load`, of a model's text, which can use no other files."""
    return _make(None, text, params, weights, weights_key, seed, exact, products, memory_limit, aux, packed, threads)


def check(path: str | os.PathLike[str], *, allow: Sequence[str] = ()) -> list[Diagnostic]:
    """Every error of every variant of a model file; where there is none, its warnings but for those named in `allow`."""
    return _svertka.check(os.fspath(path), list(allow))


def _make(path: str | None, text: str | None, params: Mapping[str, Any], weights: Weights | None, *others: Any) -> Model:
    written = [(name, _written(name, value)) for name, value in params.items()]
    return Model(path, text, written, weights, *others)


def _written(name: str, value: object) -> str:
    """A parameter as the language writes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return repr(value)
        case np.generic():
            return _written(name, value.item())
        case list() | tuple():
            return "[" + ", ".join(_written(name, item) for item in value) + "]"
        case _:
            raise TypeError(f"{name}: no parameter is a {type(value).__name__}; they are numbers, texts and lists")


def _is_one(pictures: object) -> bool:
    return isinstance(pictures, (str, bytes, os.PathLike, np.ndarray))


def _listed(pictures: Any) -> list[Picture]:
    return [pictures] if _is_one(pictures) else list(pictures)
