"""Networks beside ONNX Runtime and OpenVINO, which run what `svertka export` writes: one thread, f32, minima of rounds in turn.

    pip install onnxruntime openvino numpy
    python benches/exported.py --svertka target/release/svertka models/fsrcnn.cnn models/dcgan.cnn

Pin it to one core (`taskset -c 1`). Sizes that the network leaves free are those of the model
file.
"""

import argparse
import json
import pathlib
import re
import subprocess
import tempfile
import time

import numpy as np
from engines import ENGINES, inputs


def shortest(call, seconds):
    """Milliseconds of the shortest of the calls that fit into so many seconds, at least three."""
    call()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def svertka(command, model, seconds, folder):
    results = pathlib.Path(folder, "results.json")
    arguments = ["--threads", "1", "--random-weights", "--min-time", str(seconds), "--json", str(results)]
    subprocess.run([command, "bench", model, *arguments], check=True, capture_output=True)
    return 1e3 * json.loads(results.read_text())["results"][0]["steady"]["min_s"]


def declared(model):
    """The free sizes of a model file, `H = 224`, by name."""
    text = pathlib.Path(model.split(":")[0]).read_text()
    inputs = " ".join(line for line in text.splitlines() if line.startswith("input "))
    return {name: int(size) for name, size in re.findall(r"(\w+) *= *(\d+)", inputs)}


def measure(command, model, rounds, seconds):
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder, "model.onnx"))
        subprocess.run([command, "export", model, "--random-weights", "-o", path], check=True, capture_output=True)
        sizes = declared(model)
        random = np.random.default_rng(1)
        shapes = {i.name: [1, *(sizes.get(size, size) for size in i.shape[1:])] for i in inputs(path)}
        feeds = {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
        calls = {name: engine(path, feeds, 1) for name, engine in ENGINES.items()}
        best = dict.fromkeys(["svertka", *calls], float("inf"))
        for _ in range(rounds):
            best["svertka"] = min(best["svertka"], svertka(command, model, seconds, folder))
            for name, call in calls.items():
                best[name] = min(best[name], shortest(call, seconds))
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--svertka", default="target/release/svertka")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5)
    options = parser.parse_args()
    print("| 1 thread, ms | svertka | ONNX Runtime | OpenVINO | svertka / fastest |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for model in options.models:
        best = measure(options.svertka, model, options.rounds, options.seconds)
        ratio = best["svertka"] / min(best["ONNX Runtime"], best["OpenVINO"])
        print(f"| {model} |", " | ".join(f"{ms:.2f}" for ms in best.values()), f"| {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
