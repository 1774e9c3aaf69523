"""Classes of pictures by Daft, on this machine or on those of a Ray cluster: pip install daft.

    python with_daft.py 'PICTURES/*.png' MODEL WEIGHTS OUTPUT [--packed FOLDER]
"""

import argparse

import daft

import svertka as sv

ROW = daft.DataType.struct({"label": daft.DataType.string(), "probability": daft.DataType.float32()})


@daft.cls
class Classify:
    """A worker: the model is opened once, where the first pictures come."""

    def __init__(self, model, weights, packed):
        self.model = sv.load(model, weights=weights, packed=packed, threads=1)

    @daft.method.batch(return_dtype=ROW, batch_size=32)
    def label(self, content: daft.Series):
        pictures = [picture or b"" for picture in content.to_pylist()]  # nothing where one could not be fetched
        x, held = self.model.preprocess(pictures, errors="mask")
        best = iter(self.model.classes(self.model(x), top=1))
        return [self.row(*next(best)) if readable else None for readable in held]

    @staticmethod
    def row(found):
        return {"label": found.name, "probability": found.probability}


def classify(pictures, model, weights, output, packed=None):
    found = Classify(model, weights, packed)
    table = daft.from_glob_path(pictures)
    table.select(table["path"], found.label(table["path"].download(on_error="null")).alias("found")).write_parquet(output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", help="a pattern of paths, here or in a bucket")
    parser.add_argument("model", help="FILE, FILE:VARIANT, an ONNX file or zoo:NAME; the same path on every machine")
    parser.add_argument("weights", help="the same path on every machine")
    parser.add_argument("output", help="a folder for Parquet files, here or in a bucket")
    parser.add_argument("--packed", help="a folder on each machine's own disk, whose packed weights its workers share")
    classify(**vars(parser.parse_args()))
