"""Runs a compiled model on raw f32 values and prints its outputs: run.py LIBRARY NAME INPUT [WEIGHTS]"""

import array
import sys

from svertka_model import Model


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    library, name, path, *weights = sys.argv[1:]
    model = Model(library, name, *weights)
    values = array.array("f")
    with open(path, "rb") as file:
        values.frombytes(file.read())
    for output in model.run([values]):
        for value in output:
            print(f"{value:.9g}")


main()
