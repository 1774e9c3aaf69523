"""ONNX models, written: as much of `onnx.proto` (https://onnx.ai) as the importer needs, without a package for it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

#: The version of ONNX's operators that is meant.
OPSET = 22

#: Numbers of `TensorProto.DataType` by the names that PyTorch and NumPy have for them.
ELEMENTS = {
    "float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float16": 10, "float64": 11, "bfloat16": 16,
}  # fmt: skip

Attribute = int | float | str | Sequence[int]


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _int(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _bytes(field: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _attribute(name: str, value: Attribute) -> bytes:
    match value:
        case int():
            found, kind = _int(3, value), 2
        case float():
            found, kind = _varint(2 << 3 | 5) + struct.pack("<f", value), 1
        case str():
            found, kind = _bytes(4, value), 3
        case _:
            found, kind = _bytes(8, b"".join(map(_varint, value))), 7
    return _bytes(5, _bytes(1, name) + found + _int(20, kind))


class Graph:
    """A graph under construction. Large tensors lie beside it, in files of their own names."""

    def __init__(self, name: str) -> None:
        self._parts = [_bytes(2, name)]

    def input(self, name: str, dtype: str, shape: Iterable[int | str]) -> None:
        """A size may be a name, where it is open."""
        dims = (_bytes(2, dim) if isinstance(dim, str) else _int(1, dim) for dim in shape)
        self._port(11, name, ELEMENTS.get(dtype, 0), b"".join(_bytes(1, dim) for dim in dims))

    def output(self, name: str) -> None:
        self._port(12, name, ELEMENTS["float32"], None)

    def _port(self, field: int, name: str, element: int, shape: bytes | None) -> None:
        tensor = _int(1, element) + (b"" if shape is None else _bytes(2, shape))
        self._parts.append(_bytes(field, _bytes(1, name) + _bytes(2, _bytes(1, tensor))))

    def tensor(self, name: str, dtype: str, shape: Iterable[int]) -> None:
        """A tensor whose bytes are given beside the model."""
        where = _bytes(13, _bytes(1, "location") + _bytes(2, name)) + _int(14, 1)
        self._initializer(name, dtype, shape, where)

    def constant(self, name: str, array: npt.NDArray[np.generic]) -> None:
        self._initializer(name, array.dtype.name, array.shape, _bytes(9, array.tobytes()))

    def _initializer(self, name: str, dtype: str, shape: Iterable[int], values: bytes) -> None:
        head = b"".join(_int(1, dim) for dim in shape) + _int(2, ELEMENTS.get(dtype, 0)) + _bytes(8, name)
        self._parts.append(_bytes(5, head + values))

    def node(
        self, operator: str, inputs: Iterable[str], outputs: Iterable[str], name: str, domain: str, attributes: dict[str, Attribute]
    ) -> None:
        ports = b"".join(_bytes(1, x) for x in inputs) + b"".join(_bytes(2, y) for y in outputs)
        words = _bytes(3, name) + _bytes(4, operator) + _bytes(7, domain)
        self._parts.append(_bytes(1, ports + words + b"".join(_attribute(*item) for item in attributes.items())))

    def model(self) -> bytes:
        """The whole file."""
        return _int(1, 10) + _bytes(8, _int(2, OPSET)) + _bytes(7, b"".join(self._parts))
