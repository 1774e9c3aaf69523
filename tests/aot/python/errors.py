"""Gives a compiled model buffers that it must refuse, and some that it must take: errors.py LIBRARY NAME INPUT

INPUT holds the raw values for the only input, which is an image: f32, or bytes where the model takes such.
"""

import array
import ctypes
import sys

from svertka_model import Model


def main():
    library, name, path = sys.argv[1:]
    model = Model(library, name)
    with open(path, "rb") as file:
        raw = file.read()
    if model.input_numbers[0] is not None:
        return of_bytes(model, raw)
    values = array.array("f", raw)
    [(_, (_, *dims))] = model.inputs
    sample = elements(dims)
    batch = len(values) // sample

    expected = model.run([values])
    shaped = memoryview(raw).cast("f", [batch, *dims])
    little_endian = (ctypes.c_float.__ctype_le__ * len(values)).from_buffer_copy(raw)
    for taken in [raw, bytearray(raw), shaped, memoryview(values).toreadonly(), little_endian]:
        assert model.run([taken]) == expected, taken
    one = memoryview(raw[: 4 * sample]).cast("f", dims)
    assert model.run([one])[0] == expected[0][: len(expected[0]) // batch]

    refused(model, array.array("d", values), "elements of type 'd' (8 bytes each) instead of float32")
    refused(model, array.array("i", range(len(values))), "elements of type 'i'")
    refused(model, memoryview(raw).cast("B", [len(values), 4]), "elements of type 'B'")
    refused(model, memoryview(values)[::2], "do not lie side by side")
    refused(model, memoryview(raw).cast("f", [batch, *reversed(dims)]), "the model expects (N, ")
    refused(model, values[:-1], "a sample has")
    refused(model, array.array("f"), "a sample has")
    for inputs, text in [([], "1 inputs"), ([values, values], "2 were given"), (values, "a list with one buffer")]:
        fails(lambda inputs=inputs: model.run(inputs), text)
    fails(lambda: Model(library, "another"), "no model `another`")


def of_bytes(model, raw):
    [(_, (_, *dims))] = model.inputs
    values = array.array("B", raw)
    expected = model.run([values])
    for taken in [raw, bytearray(raw), memoryview(raw).cast("B", [len(raw) // elements(dims), *dims])]:
        assert model.run([taken]) == expected, taken
    numbers = [len(raw), *range(1, len(raw))]
    refused(model, array.array("f", numbers), "elements of type 'f' (4 bytes each) instead of uint8; a real number x becomes")
    refused(model, array.array("b", bytes(len(raw))), "elements of type 'b'")
    refused(model, values[:-1], "a sample has")


def elements(dims):
    product = 1
    for size in dims:
        product *= size
    return product


def refused(model, data, text):
    fails(lambda: model.run([data]), text)


def fails(call, text):
    try:
        call()
    except (TypeError, ValueError) as error:
        assert text in str(error), f"{error}, expected: {text}"
    else:
        raise AssertionError(f"nothing was refused, expected: {text}")


main()
