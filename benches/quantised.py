"""Networks on whole numbers beside ONNX Runtime and OpenVINO, which run what ONNX Runtime's static quantisation makes of
what `svertka export` writes: random weights, batch 1, shortest of rounds in turn, each in a process of its own.

    pip install onnxruntime onnx sympy openvino numpy
    python benches/quantised.py --svertka target/release/svertka models/resnet.cnn:resnet18 models/vgg.cnn:vgg16

With one thread, pin it to one core (`taskset -c 1`). OpenVINO takes AMX where there is such; the column beside it is
without.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np
from engines import ENGINES, inputs


def worker(engine, folder, threads, seconds):
    """Prints the shortest of the calls that fit into so many seconds, in milliseconds."""
    values = np.load(pathlib.Path(folder, "x0.npy"))
    name = json.loads(pathlib.Path(folder, "input.json").read_text())
    call = ENGINES[engine](str(pathlib.Path(folder, "int8.onnx")), {name: values}, int(threads))
    for _ in range(3):
        call()
    times, end = [], time.perf_counter() + float(seconds)
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    print(1e3 * min(times))


def run(command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **more}).stdout


def prepare(svertka, model, folder):
    """The quantised networks, with the inputs that they were calibrated on."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if pathlib.Path(folder, "unpaired.safetensors").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = str(folder / "f32.onnx")
    run([svertka, "export", model, "--random-weights", "--fixed-sizes", "-o", path])
    (entry,) = inputs(path)
    shape = [1, *entry.shape[1:]]
    files = [str(folder / f"x{index}.npy") for index in range(4)]
    for index, file in enumerate(files):
        np.save(file, np.random.default_rng(index).standard_normal(shape, dtype=np.float32))
    (folder / "input.json").write_text(json.dumps(entry.name))

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.feeds = iter([{entry.name: np.load(file)} for file in files])

        def get_next(self):
            return next(self.feeds, None)

    quant_pre_process(path, str(folder / "pre.onnx"))
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    settings = {"quant_format": QuantFormat.QDQ, "per_channel": True, **types}
    quantize_static(str(folder / "pre.onnx"), str(folder / "int8.onnx"), Reader(), **settings)
    for name, more in [("int8", []), ("unpaired", ["--unpaired"])]:
        output = ["--method", "min-max", "-o", str(folder / f"{name}.safetensors"), *more]
        run([svertka, "quantize", model, "--random-weights", "--calibrate", *files, *output])


def svertka_shortest(command, model, weights, threads, seconds, folder):
    results = folder / "results.json"
    settings = ["--threads", str(threads), "--min-time", str(seconds), "--json", str(results)]
    run([command, "bench", model, *weights, *settings])
    return 1e3 * json.loads(results.read_text())["results"][0]["steady"]["min_s"]


def measure(options, model):
    folder = pathlib.Path(options.folder, model.split(":")[-1].split("/")[-1])
    prepare(options.svertka, model, folder)
    own = [options.svertka, model]
    rest = [options.threads, options.seconds]
    whole = ["--weights", str(folder / ("unpaired.safetensors" if options.unpaired else "int8.safetensors"))]
    peer = lambda engine, **more: float(
        run([sys.executable, __file__, "--worker", engine, str(folder), *map(str, rest)], **more)
    )
    calls = {
        "svertka f32": lambda: svertka_shortest(*own, ["--random-weights"], *rest, folder),
        "svertka int8": lambda: svertka_shortest(*own, whole, *rest, folder),
        "ONNX Runtime int8": lambda: peer("ONNX Runtime"),
        "OpenVINO int8": lambda: peer("OpenVINO"),
        "without AMX": lambda: peer("OpenVINO", ONEDNN_MAX_CPU_ISA="AVX512_CORE_VNNI"),
    }
    times = {name: [] for name in calls}
    for _ in range(options.rounds):
        for name, call in calls.items():
            times[name].append(call())
    return {name: min(of) for name, of in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--svertka", default="target/release/svertka")
    parser.add_argument("--folder", default="quantised", help="where the networks are made, and found again")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--unpaired", action="store_true", help="take what `svertka quantize --unpaired` makes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(*options.worker)
    header = ["svertka f32", "svertka int8", "int8 / f32", "ONNX Runtime int8", "OpenVINO int8", "without AMX"]
    print(f"| {options.threads} thread, ms |", " | ".join([*header, "svertka / fastest", "without AMX"]), "|")
    print("| --- |", " | ".join(["---:"] * 8), "|")
    ratios = []
    for model in options.models:
        ms = measure(options, model)
        real, own, runtime_ms, open_vino_ms, plain = ms.values()
        fastest, without = min(runtime_ms, open_vino_ms), min(runtime_ms, plain)
        ratios.append((own / fastest, own / without))
        cells = [f"{real:.2f}", f"{own:.2f}", f"{own / real:.2f}", *(f"{t:.2f}" for t in [runtime_ms, open_vino_ms, plain])]
        print(f"| {model} |", " | ".join([*cells, *(f"{ratio:.2f}" for ratio in ratios[-1])]), "|", flush=True)
    means = [statistics.geometric_mean(column) for column in zip(*ratios)]
    print("| geometric mean |", " | ".join([""] * 6 + [f"{mean:.2f}" for mean in means]), "|")


if __name__ == "__main__":
    main()
