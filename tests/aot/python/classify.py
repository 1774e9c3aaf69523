"""Classifies a picture with a compiled model and NumPy: classify.py LIBRARY NAME PICTURE LABELS [WEIGHTS]

PICTURE is a Netpbm file of the size of the model's input: PGM (P5) for digits as LeNet-5 was trained on, PPM (P6) for
photographs as torchvision's models were.
"""

import re
import sys

import numpy as np
from svertka_model import Model

MEAN_STD = {1: ([0.1307], [0.3081]), 3: ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])}


def read_picture(path):
    """Samples as [height, width, channels]."""
    with open(path, "rb") as file:
        data = file.read()
    header = re.match(rb"P([56])\s+(?:#.*\s+)*(\d+)\s+(\d+)\s+255\s", data)
    if not header:
        sys.exit(f"{path}: not a binary PGM or PPM file of 8 bits a sample")
    shape = (int(header[3]), int(header[2]), 1 if header[1] == b"5" else 3)
    return np.frombuffer(data, "u1", int(np.prod(shape)), offset=header.end()).reshape(shape)


def main():
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    library, name, path, labels, *weights = sys.argv[1:]
    model = Model(library, name, *weights)
    picture = read_picture(path)
    mean, std = (np.array(values, "f4") for values in MEAN_STD[picture.shape[2]])
    image = ((picture.astype("f4") / 255 - mean) / std).transpose(2, 0, 1)
    numbers = model.input_numbers[0]
    if numbers:
        image = np.rint(image / np.float32(numbers.scale)) + numbers.zero_point
        image = image.clip(0, numbers.largest).astype("u1")
    [scores] = model.run([np.ascontiguousarray(image)])
    with open(labels, encoding="utf-8") as file:
        print(file.read().splitlines()[np.frombuffer(scores, "f4").argmax()])


main()
