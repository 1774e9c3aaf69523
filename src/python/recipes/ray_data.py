"""Classes of pictures on all machines of a Ray cluster, or on this one: pip install 'ray[data]'.

    python ray_data.py PICTURES MODEL WEIGHTS OUTPUT [--packed FOLDER] [--workers N]
"""

import argparse

import numpy as np
import ray

import svertka as sv


class Classify:
    """A worker: the model is opened once, and computes on the one thread that Ray counts."""

    def __init__(self, model, weights, packed):
        self.model = sv.load(model, weights=weights, packed=packed, threads=1)

    def __call__(self, batch):
        x, held = self.model.preprocess(list(batch["bytes"]), errors="mask")
        best = [classes[0] for classes in self.model.classes(self.model(x), top=1)]
        label, probability = np.full(len(held), "", object), np.full(len(held), np.nan, np.float32)
        label[held] = [found.name for found in best]
        probability[held] = [found.probability for found in best]
        return {"path": batch["path"], "label": label, "probability": probability, "readable": held}


def classify(pictures, model, weights, output, packed=None, workers=2):
    # Who reads and writes needs a part of a CPU too: where workers take all of them, Ray waits for ever.
    cpus, files = ray.cluster_resources()["CPU"], {"num_cpus": 0.1}
    table = ray.data.read_binary_files(pictures, include_paths=True, ray_remote_args=files).map_batches(
        Classify,
        fn_constructor_args=(model, weights, packed),
        batch_size=32,
        num_cpus=min(1, 0.8 * cpus / workers),
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    table.write_parquet(output, ray_remote_args=files)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", help="a folder, here or in a bucket")
    parser.add_argument("model", help="FILE, FILE:VARIANT, an ONNX file or zoo:NAME; the same path on every machine")
    parser.add_argument("weights", help="the same path on every machine")
    parser.add_argument("output", help="a folder for Parquet files, here or in a bucket")
    parser.add_argument("--packed", help="a folder on each machine's own disk, whose packed weights its workers share")
    parser.add_argument("--workers", type=int, default=2)
    arguments = vars(parser.parse_args())
    ray.init()
    classify(**arguments)
