"""Runs a model that was compiled to a shared library. Needs nothing but Python's standard library.

    model = Model("./liblenet5.so", "lenet5")
    [scores] = model.run([image])

Inputs are anything with the buffer interface that holds f32 values, row-major with the batch first: `array.array("f")`,
a NumPy array of float32, or their bytes, as `bytes` or a memory-mapped file. Read-only ones are copied. An array of
several dimensions must have the shape of the input, with the batch or without it; a flat one has as many values as the
samples that it holds. Outputs are `array.array("f")`; `numpy.frombuffer` views them as an array.

A model that was compiled with `--bytes` takes and gives whole numbers of eight bits where its header says so: uint8, and
`array.array("B")`. `model.input_numbers[0]` says what they stand for: `None` for f32, else q is the real number
`(q - zero_point) * scale`.
"""

import array
import ctypes
import mmap

ALIGNMENT = 64


class Numbers(ctypes.Structure):
    """What whole numbers of an input or output stand for."""

    _fields_ = [("scale", ctypes.c_float), ("zero_point", ctypes.c_uint8), ("largest", ctypes.c_uint8)]


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
        self.input_numbers = self._numbers("input", len(self.inputs))
        self.output_numbers = self._numbers("output", len(self.outputs))

    def run(self, inputs):
        """The outputs for one buffer an input; the batch follows from the first one's size."""
        if not isinstance(inputs, (list, tuple)):
            raise TypeError(f"inputs: a list with one buffer for each input, not {type(inputs).__name__}")
        if len(inputs) != len(self.inputs):
            names = ", ".join(name for name, _ in self.inputs)
            raise ValueError(f"the model has {len(self.inputs)} inputs ({names}), {len(inputs)} were given")
        codes = [_code(numbers) for numbers in self.input_numbers]
        inputs = [_values(data, name, shape, code) for data, (name, shape), code in zip(inputs, self.inputs, codes)]
        samples = [data.nbytes // (SIZES[code] * _elements(shape)) for data, (_, shape), code in zip(inputs, self.inputs, codes)]
        batch = samples[0] if samples else 1
        for found, (name, _) in zip(samples, self.inputs):
            if found != batch:
                raise ValueError(f"input {name}: {found} samples instead of {batch}")
        memory_bytes = self._function("memory_bytes", ctypes.c_size_t)(ctypes.c_size_t(batch), ctypes.c_size_t(1))
        if memory_bytes == ctypes.c_size_t(-1).value:
            raise ValueError(f"the model cannot run a batch of {batch}")
        memory = bytearray(memory_bytes + ALIGNMENT)
        ports = zip(self.outputs, map(_code, self.output_numbers))
        outputs = [array.array(code, bytes(SIZES[code] * batch * _elements(shape))) for (_, shape), code in ports]
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

    def _numbers(self, kind, count):
        """What the elements of each input or output stand for; None for f32."""
        function = self._function(f"{kind}_quantisation", ctypes.POINTER(Numbers))
        pointers = [function(ctypes.c_size_t(index)) for index in range(count)]
        return [pointer.contents if pointer else None for pointer in pointers]


# Of the types of elements, by Python's codes for them.
SIZES = {"f": 4, "B": 1}
NAMES = {"f": "float32", "B": "uint8"}
# Elements that may be the bytes of values; those with a sign are other numbers than the bytes a model takes.
RAW = {"f": ("B", "b", "c"), "B": ("B", "c")}
CONVERSIONS = {
    "f": "NumPy's .astype('float32') converts them",
    "B": "a real number x becomes round(x / scale) + zero_point, from 0 to largest, as `input_numbers` says",
}


def _code(numbers):
    return "f" if numbers is None else "B"


def _elements(shape):
    product = 1
    for size in shape[1:]:
        product *= size
    return product


def _values(data, name, shape, code):
    """A buffer that `_address` takes, of the values of an input of this name, shape and type; ValueError where it is none."""
    view = memoryview(data)
    raw = view.ndim == 1 and view.format in RAW[code]
    if not raw and view.format.lstrip("@=<") != code:
        raise ValueError(
            f"input {name}: elements of type '{view.format}' ({view.itemsize} bytes each) instead of {NAMES[code]}; "
            f"{CONVERSIONS[code]}"
        )
    if not view.c_contiguous:
        raise ValueError(f"input {name}: the values do not lie side by side; numpy.ascontiguousarray copies them")
    wanted = shape[1:]
    if view.ndim > 1 and view.shape != wanted and view.shape[1:] != wanted:
        expected = ", ".join(map(str, (shape[0] or "N", *wanted)))
        raise ValueError(f"input {name}: shape {view.shape}, the model expects ({expected})")
    if view.nbytes == 0 or view.nbytes % (SIZES[code] * _elements(shape)) != 0:
        values = f"{_elements(shape)} values of {SIZES[code]} bytes"
        raise ValueError(f"input {name}: {view.nbytes} bytes; a sample has {values}")
    return memoryview(bytearray(view)) if view.readonly else view


def _map(path):
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def _address(data):
    return ctypes.addressof(ctypes.c_char.from_buffer(data))
