"""Compiles descriptions of convolutional networks, and ONNX files, for this machine's CPU.

>>> import svertka as sv
>>> m = sv.load("resnet.cnn:resnet50", weights="resnet50.safetensors")
>>> y = m(x)                              # numpy, or anything with __dlpack__ or __array__
>>> m.classify("cup.jpg", top=5)

Nothing is copied in silence: arrays are float32, in C order, and read where they lie; `out=` writes where it lies.
Models can be called by several threads at once, pickled, and used behind `os.fork`.
"""

from svertka._data import Class, Diagnostic, Fix, ModelError, ReceptiveField, Span
from svertka._model import Graph, Model, Summary, check, compile, load
from svertka._svertka import __version__

__all__ = [
    "Class",
    "Diagnostic",
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
    "load",
]
