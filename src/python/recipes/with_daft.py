"""Classes of a folder of pictures by Daft, on this machine or a cluster of its runner (pip install daft).

    python with_daft.py 'PICTURES/*.png' MODEL WEIGHTS OUTPUT
"""

import sys

import daft

import svertka as sv


@daft.cls
class Classify:
    """A worker: the model is opened once, where the first picture comes."""

    def __init__(self, model: str, weights: str):
        self.model = sv.load(model, weights=weights, threads=1)

    @daft.method(return_dtype=daft.DataType.string())
    def label(self, content: bytes):
        try:
            best = self.model.classify(content, top=1)[0]
        except ValueError:
            return None  # it could not be read
        return str(best.label or best.index)


def main(pictures, model, weights, output):
    classify = Classify(model, weights)
    table = daft.from_glob_path(pictures)
    content = table["path"].download()
    table.select(table["path"], classify.label(content).alias("label")).write_parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
