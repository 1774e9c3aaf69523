"""Runs a model that was compiled to a shared library. Needs nothing but Python's standard library.

    model = Model("./liblenet5.so", "lenet5")
    [scores] = model.run([image])

Inputs are anything with the buffer interface that holds f32 values, row-major with the batch first: `array.array("f")`,
a NumPy array of float32, or their bytes, as `bytes` or a memory-mapped file. Read-only ones are copied. An array of
several dimensions must have the shape of the input, with the batch or without it; a flat one has as many values as the
samples that it holds. Outputs are `array.array("f")`; `numpy.frombuffer` views them as an array.
"""

import array
import ctypes
import mmap

ALIGNMENT = 64


class Model:
    def __init__(self, library, name, weights=None):
        """`weights` is the path of the weight file, for models that were compiled with one."""
        self._functions = ctypes.CDLL(library)
        self._name = name
        self._context = (ctypes.c_uint64 * 2)()
        self._weights = _map(weights) if weights else None
        address = _address(self._weights) if weights else None
        size = len(self._weights) if weights else 0
        self._check(self._function("init", ctypes.c_int)(self._context, ctypes.c_void_p(address), ctypes.c_size_t(size)))
        self.inputs = self._ports("input")
        self.outputs = self._ports("output")

    def run(self, inputs):
        """The outputs for one buffer an input; the batch follows from the first one's size."""
        if not isinstance(inputs, (list, tuple)):
            raise TypeError(f"inputs: a list with one buffer for each input, not {type(inputs).__name__}")
        if len(inputs) != len(self.inputs):
            names = ", ".join(name for name, _ in self.inputs)
            raise ValueError(f"the model has {len(self.inputs)} inputs ({names}), {len(inputs)} were given")
        inputs = [_values(data, name, shape) for data, (name, shape) in zip(inputs, self.inputs)]
        batch = inputs[0].nbytes // (4 * _elements(self.inputs[0][1])) if inputs else 1
        for data, (name, shape) in zip(inputs, self.inputs):
            expected = batch * _elements(shape)
            if data.nbytes != 4 * expected:
                raise ValueError(f"input {name}: {data.nbytes // 4} values instead of {expected} for {batch} samples")
        memory_bytes = self._function("memory_bytes", ctypes.c_size_t)(ctypes.c_size_t(batch), ctypes.c_size_t(1))
        if memory_bytes == ctypes.c_size_t(-1).value:
            raise ValueError(f"the model cannot run a batch of {batch}")
        memory = bytearray(memory_bytes + ALIGNMENT)
        outputs = [array.array("f", bytes(4 * batch * _elements(shape))) for _, shape in self.outputs]
        error = self._function("run", ctypes.c_int)(
            self._context,
            ctypes.c_void_p(-(-_address(memory) // ALIGNMENT) * ALIGNMENT),
            ctypes.c_size_t(batch),
            (ctypes.c_void_p * len(inputs))(*map(_address, inputs)),
            (ctypes.c_void_p * len(outputs))(*map(_address, outputs)),
        )
        self._check(error)
        return outputs

    def version(self):
        return self._function("version", ctypes.c_char_p)().decode()

    def _function(self, suffix, result):
        function = getattr(self._functions, f"{self._name}_{suffix}", None)
        if function is None:
            raise ValueError(f"the library has no model `{self._name}`: it lacks {self._name}_{suffix}")
        function.restype = result
        return function

    def _check(self, error):
        if error:
            raise RuntimeError(self._function("error_text", ctypes.c_char_p)(error).decode())

    def _ports(self, kind):
        """Name and shape of each input or output; the batch is 0 where it is free."""
        ports = []
        for index in range(self._function(f"{kind}_count", ctypes.c_size_t)()):
            rank = self._function(f"{kind}_rank", ctypes.c_size_t)(ctypes.c_size_t(index))
            shape = self._function(f"{kind}_shape", ctypes.POINTER(ctypes.c_size_t))(ctypes.c_size_t(index))
            name = self._function(f"{kind}_name", ctypes.c_char_p)(ctypes.c_size_t(index)).decode()
            ports.append((name, tuple(shape[:rank])))
        return ports


def _elements(shape):
    product = 1
    for size in shape[1:]:
        product *= size
    return product


def _values(data, name, shape):
    """A buffer that `_address` takes, of the values of an input of this name and shape; ValueError where it is none."""
    view = memoryview(data)
    raw = view.ndim == 1 and view.format in ("B", "b", "c")
    if not raw and view.format.lstrip("@=<") != "f":
        raise ValueError(
            f"input {name}: elements of type '{view.format}' ({view.itemsize} bytes each) instead of float32; "
            "NumPy's .astype('float32') converts them"
        )
    if not view.c_contiguous:
        raise ValueError(f"input {name}: the values do not lie side by side; numpy.ascontiguousarray copies them")
    wanted = shape[1:]
    if view.ndim > 1 and view.shape != wanted and view.shape[1:] != wanted:
        expected = ", ".join(map(str, (shape[0] or "N", *wanted)))
        raise ValueError(f"input {name}: shape {view.shape}, the model expects ({expected})")
    if view.nbytes == 0 or view.nbytes % (4 * _elements(shape)) != 0:
        raise ValueError(f"input {name}: {view.nbytes} bytes; a sample has {_elements(shape)} values of 4 bytes")
    return memoryview(bytearray(view)) if view.readonly else view


def _map(path):
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def _address(data):
    return ctypes.addressof(ctypes.c_char.from_buffer(data))
