#!/usr/bin/env python3
"""Has ONNX Runtime run what `svertka export` writes, and compares with svertka.

    python tests/onnx/compare.py [--svertka target/debug/svertka] [MODEL ...]
    python tests/onnx/compare.py --cases FOLDER

Run by hand: it needs onnx, onnxruntime, safetensors and numpy. Without a folder each variant of each file in models/ (or those that
are named, as FILE or FILE:VARIANT) is exported with random weights, checked by onnx.checker, and run by ONNX Runtime, by
`svertka run` from its text, and by `svertka run` from the ONNX file, on a random input, of another size where its sizes
are free. Two differences relative to the largest output are printed: of ONNX Runtime's outputs from the text's, and of the ONNX
file's from the text's. `svertka import` must give the very text back.

A folder of cases, random layers and networks with what the interpreter says of them, is made by

    SVERTKA_ONNX_CASES=FOLDER PROPTEST_CASES=1000 cargo test --test all export::random

and networks on whole numbers by `integers::exported`.

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
    """The variants of each file in models/, and files without variants."""
    for path in sorted((ROOT / "models").glob("*.cnn")):
        text = path.read_text()
        if re.search(r"^model ", text, re.M):
            variants = re.findall(r"^variant (\w+)", text, re.M)
            yield from [f"{path.stem}:{name}" for name in variants] or [path.stem]


# None of those in the files.
FREE = {3: [20011], 4: [192, 256], 5: [8, 64, 80]}
LEAST = {"inception_v3": [299, 331]}


def sizes_of(shape, file):
    """Two samples; where sizes are free, others than the exporter saw."""
    free = LEAST.get(file, FREE.get(len(shape), []))
    return [2] + [dim if isinstance(dim, int) else size for dim, size in zip(shape[1:], [0, *free] if free else shape[1:])]


def tame(path, weights):
    """Writes the weights of a model, those of batch norms before a sum made small, as they are in trained networks: random
    ones let values, and what is rounded off them, grow from block to block until they mean nothing in any engine."""
    graph = onnx.load(path).graph
    made = {node.output[0]: node for node in graph.node}

    def norm(value):
        """The weight of the batch norm that a value comes from, also through an activation."""
        node = made.get(value)
        while node is not None and node.op_type in ("LeakyRelu", "Relu"):
            node = made.get(node.input[0])
        return node.input[1] if node is not None and node.op_type == "BatchNormalization" else None

    small = {norm(value) for node in graph.node if node.op_type == "Add" for value in node.input}
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
    """The difference of the worst output of a model in ONNX Runtime, that of the ONNX file as a model, and what it is: nodes,
    opset, shapes of inputs."""
    file, _, variant = name.partition(":")
    text = ROOT / "models" / f"{file}.cnn"
    model = f"{text}:{variant}" if variant else str(text)
    path, weights = str(folder / "model.onnx"), str(folder / "weights.safetensors")
    run = lambda *words: subprocess.run([options.svertka, *words], check=True, capture_output=True)
    drawn = run("export", model, "--random-weights", "-o", path).stderr
    # A model may have all its weights in its text.
    given = ["--weights", weights] if b"random weights" in drawn else []
    tame(path, weights)
    run("export", model, *given, "-o", path, *options.rest)
    run("import", path, "-o", folder / "again", "--name", "text")
    if (folder / "again" / "text.cnn").read_bytes() != text.read_bytes():
        raise ValueError("another text comes back")
    engine = session(path)
    values = engine.get_inputs()
    outputs = [value.name for value in engine.get_outputs()]
    inputs = [np.random.default_rng(0).standard_normal(sizes_of(value.shape, file)).astype(np.float32) for value in values]
    words = []
    for value, array in zip(values, inputs):
        np.save(folder / f"{value.name}.npy", array)
        words += ["--input", f"{value.name}={folder / value.name}.npy" if len(inputs) > 1 else f"{folder / value.name}.npy"]

    def computed(*model):
        to = [word for output in outputs for word in ("--output", f"{output}={folder / output}.out.npy")]
        run("run", *model, *words, *to)
        return [np.load(folder / f"{output}.out.npy") for output in outputs]

    expected = computed(model, *given)
    if not all(np.isfinite(array).all() for array in expected):
        raise ValueError("the outputs are not finite")
    found = engine.run(None, {value.name: array for value, array in zip(values, inputs)})
    worst = max(map(difference, found, expected))
    again = max(map(difference, computed(path), expected))
    graph = onnx.load(path, load_external_data=False)
    shapes = [str(value.shape).replace("'", "") for value in values]
    return worst, f"{again:8.1e}", f"{len(graph.graph.node):4}", graph.opset_import[0].version, *shapes, *(["FAILED"] if again > LIMIT else [])


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
        ok = worst <= LIMIT and more[-1:] != ["FAILED"]
        failed.extend([] if ok else [name])
        if not ok or not options.cases:
            print(f"{name:40} {worst:8.1e}  {'  '.join(map(str, more))}{'' if worst <= LIMIT else '  FAILED'}", flush=True)

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
