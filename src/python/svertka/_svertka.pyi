import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from svertka._data import Class, Diagnostic, ReceptiveField

__all__ = ["Core", "Imported", "__version__", "check", "main"]

__version__: str

def check(path: str, allow: Sequence[str]) -> list[Diagnostic]: ...
def main(words: Sequence[str]) -> int: ...

@final
class Imported:
    def __new__(cls, name: str, file: bytes, tensors: Mapping[str, npt.NDArray[np.uint8]]) -> Self: ...
    @property
    def text(self) -> str: ...
    @property
    def remarks(self) -> list[str]: ...
    @property
    def inputs(self) -> list[str]: ...
    @property
    def outputs(self) -> list[str]: ...
    def weights(self) -> list[tuple[str, tuple[int, ...], str | npt.NDArray[np.float32]]]:
        """Name, sizes, and values of each weight: the name of the tensor that is them, or an array."""

    def save(self, folder: str | os.PathLike[str], name: str) -> Path: ...

@disjoint_base
class Core:
    def __new__(
        cls,
        path: str | None,
        text: str | None,
        params: Sequence[tuple[str, str]],
        weights: Any,
        weights_key: str | None,
        seed: int | None,
        exact: bool,
        products: str,
        memory_limit: int,
        aux: bool,
        packed: str | os.PathLike[str] | None,
        threads: int,
        *,
        of: Core | None = None,
    ) -> Self: ...
    def __call__(self, *inputs: Any, out: Any = None) -> Any: ...
    def __reduce__(self) -> tuple[type[Any], tuple[Any, ...]]: ...
    def values(self, inputs: Any, layers: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Values of layers by the names given; of a block, those of its last layer.

        `inputs` is what a call takes, several in a tuple. The network is compiled once more for it, and kept for the
        layers that were asked for last.
        """

    def receptive_field(self, layer: str, position: Sequence[int]) -> ReceptiveField:
        """What of the input one position of a layer's value sees; of a block, that of its last layer."""

    def explain(self, layer: str | None = None, *, verbose: bool = False) -> str:
        """Which kernels were chosen, what was fused, and why, a line a step: of a layer and all below it, or of all.

        With `verbose` everything about each step, and what the passes did and refused.
        """

    @property
    def inputs(self) -> dict[str, tuple[int | str, ...]]:
        """Shapes of the inputs; a free batch by its name."""

    @property
    def outputs(self) -> dict[str, tuple[int | str, ...]]:
        """Shapes of the outputs."""

    @property
    def weights(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights that a weight file holds."""

    @property
    def source(self) -> str:
        """The text of the model; of an ONNX file, that which was made of it."""

    @property
    def name(self) -> str:
        """As messages name it."""

    @property
    def threads(self) -> int:
        """Threads of a call, the caller's included."""

    @property
    def packed_bytes(self) -> int:
        """Bytes of packed weights and tables, which all forks share."""

    @property
    def warnings(self) -> list[Diagnostic]:
        """What in the text is odd or without effect, as far as building showed."""

    @property
    def remarks(self) -> list[str]:
        """What in the card is without effect; how the network differs from its ONNX file."""

    def _arguments(self, threads: int) -> tuple[Any, ...]: ...
    def _summary(self) -> tuple[str, str]: ...
    def _draw(self, stage: str, format: str) -> str: ...
    def _preprocess(
        self, pictures: Sequence[Any], input: str | None, layout_name: str | None, mask: bool
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]: ...
    def _classes(self, output: npt.NDArray[np.float32], top: int) -> list[list[Class]]: ...
    def _labels(self) -> list[str]: ...
