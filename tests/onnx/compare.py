#!/usr/bin/env python3
"""Has ONNX Runtime run what `svertka export` writes, and compares with svertka.

    python tests/onnx/compare.py [--svertka target/debug/svertka] [MODEL ...]
    python tests/onnx/compare.py --cases FOLDER

Run by hand: it needs onnx, onnxruntime, safetensors and numpy. Without a folder each variant of each file in models/ (or those that
are named, as FILE or FILE:VARIANT) is exported with random weights, checked by onnx.checker, run by ONNX Runtime and
by `svertka run` on one random input, and the largest difference relative to the largest output is printed.

A folder of cases, random layers and networks with what the interpreter says of them, is made by

    SVERTKA_ONNX_CASES=FOLDER PROPTEST_CASES=1000 cargo test --test export random

Ends with 1 where a difference is above 1e-4, or where a model is refused.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT = 1e-4


def session(path):
    """A checked model, its graph as it stands: no fusing that could hide what a node does."""
    onnx.checker.check_model(path, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def difference(found, expected):
    """The largest difference relative to the largest value; infinities and NaN must agree."""
    if found.shape != expected.shape:
        return np.inf
    finite = np.isfinite(expected)
    if not np.array_equal(found[~finite], expected[~finite], equal_nan=True):
        return np.inf
    return float(np.max(np.abs(found - expected)[finite], initial=0) / max(np.max(np.abs(expected[finite]), initial=0), 1e-6))


def names():
    """The default and the variants of each file in models/."""
    for path in sorted((ROOT / "models").glob("*.cnn")):
        text = path.read_text()
        if re.search(r"^model ", text, re.M):
            yield path.stem
            yield from (f"{path.stem}:{name}" for name in re.findall(r"^variant (\w+)", text, re.M))


def sizes_of(shape):
    """A size for each dimension: two samples, and free sizes that are none of those in the files."""
    free = {3: 16000, 4: 320, 5: 32}[len(shape)]
    return [2] + [dim if isinstance(dim, int) else free for dim in shape[1:]]


def tame(path, weights):
    """Writes the weights of a model, those of batch norms before a sum made small, as they are in trained networks: random
    ones let values, and what is rounded off them, grow from block to block until they mean nothing in any engine."""
    graph = onnx.load(path).graph
    summed = {value for node in graph.node if node.op_type == "Add" for value in node.input}
    small = {node.input[1] for node in graph.node if node.op_type == "BatchNormalization" and node.output[0] in summed}
    tensors = {}
    for tensor in graph.initializer:
        if not tensor.name.startswith("/"):
            array = onnx.numpy_helper.to_array(tensor)
            # Scales of channels have ones for the positions in ONNX.
            users = {node.op_type for node in graph.node if tensor.name in node.input}
            array = array.reshape(-1) if users & {"Mul", "Add", "PRelu", "Div"} else array
            tensors[tensor.name] = array * np.float32(0.25) if tensor.name in small else array
    save_file(tensors, weights)


def compare_model(name, options, folder):
    """The difference of the worst output of a model, its nodes, its opset and the sizes of its inputs."""
    file, _, variant = name.partition(":")
    model = f"{ROOT}/models/{file}.cnn" + (f":{variant}" if variant else "")
    path, weights = str(folder / "model.onnx"), str(folder / "weights.safetensors")
    run = lambda *words: subprocess.run([options.svertka, *words], check=True, capture_output=True)
    drawn = run("export", model, "--random-weights", "-o", path).stderr
    # A model may have all its weights in its text.
    given = ["--weights", weights] if b"random weights" in drawn else []
    tame(path, weights)
    run("export", model, *given, "-o", path, *options.rest)
    engine = session(path)
    sizes = [sizes_of(value.shape) for value in engine.get_inputs()]
    inputs = [np.random.default_rng(0).standard_normal(size).astype(np.float32) for size in sizes]
    words = []
    for value, array in zip(engine.get_inputs(), inputs):
        np.save(folder / f"{value.name}.npy", array)
        words += ["--input", f"{value.name}={folder / value.name}.npy" if len(inputs) > 1 else f"{folder / value.name}.npy"]
    outputs = [value.name for value in engine.get_outputs()]
    for output in outputs:
        words += ["--output", f"{output}={folder / output}.out.npy"]
    run("run", model, *given, *words)
    found = engine.run(None, {value.name: array for value, array in zip(engine.get_inputs(), inputs)})
    worst = max(difference(array, np.load(folder / f"{output}.out.npy")) for output, array in zip(outputs, found))
    graph = onnx.load(path, load_external_data=False)
    shapes = [str(value.shape).replace("'", "") for value in engine.get_inputs()]
    return worst, len(graph.graph.node), graph.opset_import[0].version, *shapes


def compare_case(case):
    engine = session(str(case / "model.onnx"))
    load = lambda kind, values: [np.load(case / f"{kind}{index}.npy") for index in range(len(values))]
    inputs = load("input", engine.get_inputs())
    found = engine.run(None, {value.name: array for value, array in zip(engine.get_inputs(), inputs)})
    return max(difference(*pair) for pair in zip(found, load("output", found)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="all if none is named")
    parser.add_argument("--svertka", default=str(ROOT / "target/debug/svertka"))
    parser.add_argument("--cases", type=pathlib.Path)
    options, options.rest = parser.parse_known_args()
    failed = []

    def judge(name, compared):
        try:
            worst, *more = compared()
        except Exception as error:
            stderr = getattr(error, "stderr", None)
            worst, more = np.inf, [(stderr or str(error).encode()).decode(errors="replace").strip()[:400]]
        ok = worst <= LIMIT
        failed.extend([] if ok else [name])
        if not ok or not options.cases:
            print(f"{name:40} {worst:8.1e}  {'  '.join(map(str, more))}{'' if ok else '  FAILED'}", flush=True)

    if options.cases:
        cases = sorted(options.cases.iterdir(), key=lambda path: int(path.name))
        for case in cases:
            judge(str(case), lambda: [compare_case(case), (case / "graph.txt").read_text()])
        print(f"{len(cases) - len(failed)} of {len(cases)} cases agree")
    else:
        for name in options.models or names():
            with tempfile.TemporaryDirectory() as folder:
                judge(name, lambda: compare_model(name, options, pathlib.Path(folder)))
    sys.exit(f"above {LIMIT}: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
