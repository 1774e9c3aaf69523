"""Networks on large pictures beside ONNX Runtime and OpenVINO, which run what `svertka export` writes: random weights, f32,
shortest run of rounds in turn, and the most memory that the process took, each in a process of its own.

    pip install onnxruntime openvino numpy
    python benches/pictures.py --svertka target/release/svertka --threads 2 --sizes 1088x1920 models/unet.cnn:unet_small
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
from engines import ENGINES, inputs

MIB = 1 << 20


def worker(engine, path, name, shape, threads, runs):
    """Prints milliseconds of the shortest of some calls behind a first one, and MiB of the process."""
    values = np.random.default_rng(1).standard_normal(list(map(int, shape.split("x"))), dtype=np.float32)
    call = ENGINES[engine](path, {name: values}, int(threads))
    call()
    times = []
    for _ in range(int(runs)):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    # In KiB, on Linux.
    print(1e3 * min(times), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def peer(engine, path, name, shape, options):
    command = [sys.executable, __file__, "--worker", engine, path, name, shape, str(options.threads), str(options.runs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return tuple(map(float, done.stdout.split()))


def svertka(model, size, options, folder):
    results = pathlib.Path(folder, "results.json")
    height, width = size.split("x")
    command = [options.svertka, "bench", model, "-D", f"H={height}", "-D", f"W={width}", "--random-weights", "--processes", "1"]
    command += ["--threads", str(options.threads), "--runs", str(options.runs), "--warmup", "1", "--min-time", "0"]
    subprocess.run([*command, "--json", results], check=True, capture_output=True)
    result = json.loads(results.read_text())["results"][0]
    return 1e3 * result["steady"]["min_s"], result["peak_rss_bytes"] / MIB


def measure(model, size, options):
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder, "model.onnx"))
        subprocess.run([options.svertka, "export", model, "--random-weights", "-o", path], check=True, capture_output=True)
        (entry,) = inputs(path)
        shape = f"1x{entry.shape[1]}x{size}"
        found = {}
        for _ in range(options.rounds):
            found.setdefault("svertka", []).append(svertka(model, size, options, folder))
            for engine in ENGINES:
                found.setdefault(engine, []).append(peer(engine, path, entry.name, shape, options))
    return {engine: [min(part) for part in zip(*rounds)] for engine, rounds in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="networks that read one picture of H x W")
    parser.add_argument("--svertka", default="target/release/svertka")
    parser.add_argument("--sizes", default="1088x1920", help="heights and widths, with commas between")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    engines = ["svertka", *ENGINES]
    print(f"| {options.threads} threads, ms (MiB) | {' | '.join(engines)} | svertka / fastest | / smallest |")
    print("| --- |" + " ---: |" * (len(engines) + 2))
    for model in options.models:
        for size in options.sizes.split(","):
            found = measure(model, size, options)
            cells = [f"{ms:.0f} ({mib:.0f})" for ms, mib in (found[engine] for engine in engines)]
            ratios = [f"{found['svertka'][i] / min(found[engine][i] for engine in ENGINES):.2f}" for i in range(2)]
            print(f"| {model}, {size} | {' | '.join([*cells, *ratios])} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        main()
