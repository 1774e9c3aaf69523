"""Compiles descriptions of convolutional networks, ONNX files and modules of PyTorch for this machine's CPU.

>>> import svertka as sv
>>> m = sv.load("resnet.cnn:resnet50", weights="resnet50.safetensors")
>>> y = m(x)                              # numpy, or anything with __dlpack__ or __array__
>>> m.classify("cup.jpg", top=5)
>>> e = sv.from_torch(module, example)    # a text with labels, blocks and weights: e.text, e.save(folder), e.compile()
>>> fast = torch.compile(module, backend="svertka")

Nothing is copied in silence: arrays are float32, in C order, and read where they lie; `out=` writes where it lies.
Models can be called by several threads at once, pickled, and used behind `os.fork`.
"""

from svertka._data import Class, Diagnostic, Fix, ModelError, ReceptiveField, Span
from svertka._model import Graph, Model, Summary, check, compile, load
from svertka._svertka import __version__
from svertka._torch import Exported, from_torch

__all__ = [
    "Class",
    "Diagnostic",
    "Exported",
    "Fix",
    "Graph",
    "Model",
    "ModelError",
    "ReceptiveField",
    "Span",
    "Summary",
    "__version__",
    "check",
    "compile",
    "from_torch",
    "load",
]
