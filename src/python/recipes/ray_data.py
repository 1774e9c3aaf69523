"""Classes of a folder of pictures, on all machines of a Ray cluster (pip install 'ray[data]').

    python ray_data.py PICTURES MODEL WEIGHTS OUTPUT [WORKERS]

PICTURES and OUTPUT may be in a bucket; MODEL and WEIGHTS are paths that every machine has.
"""

import sys

import ray

import svertka as sv


class Classify:
    """A worker: the model is opened once, and computes on the one thread that Ray counts."""

    def __init__(self, model, weights):
        self.model = sv.load(model, weights=weights, threads=1)

    def __call__(self, batch):
        x, held = self.model.preprocess(list(batch["bytes"]), errors="mask")
        found = iter(self.model.classes(self.model(x), top=1))
        best = [next(found)[0] if ok else sv.Class(-1, None, 0.0) for ok in held]
        rows = {"label": [str(c.label or c.index) for c in best], "probability": [c.probability for c in best]}
        return {"path": batch["path"], "readable": held, **rows}


def main(pictures, model, weights, output, workers=1):
    # Reading needs a part of a CPU too: with one for each worker of a small machine nothing would ever begin.
    workers, cpus = int(workers), ray.cluster_resources().get("CPU", 1)
    of_worker = min(1, 0.8 * cpus / workers)
    (
        ray.data.read_binary_files(pictures, include_paths=True)
        .map_batches(
            Classify,
            fn_constructor_args=(model, weights),
            batch_size=32,
            num_cpus=of_worker,
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        .write_parquet(output)
    )


if __name__ == "__main__":
    ray.init(ignore_reinit_error=True)
    main(*sys.argv[1:])
