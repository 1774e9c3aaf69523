#!/usr/bin/env python3
"""Compares imported networks with ONNX Runtime.

    python tests/onnx/imported.py [--svertka target/debug/svertka] [--keep FOLDER] [--functions] [MODEL.onnx | NETWORK ...]

Run by hand: it needs onnx, onnxruntime and numpy, and torch with torchvision for networks that are no files. Each network
of torchvision's is exported with random weights by both exporters of PyTorch; `svertka run` and ONNX Runtime then take one
random input, and the largest difference relative to the largest output is printed, with the lines of the imported text. With
--functions, modules of what TorchScript exports become functions of the file.

Ends with 1 where a difference is above 1e-5, or where a network is refused.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnx
import onnxruntime
from fold import folded

LIMIT = 1e-5
ROOT = pathlib.Path(__file__).resolve().parents[2]
NETWORKS = {
    "alexnet": 224, "vgg11_bn": 224, "googlenet": 96, "inception_v3": 128, "resnet18": 64, "resnet50": 64,
    "resnext50_32x4d": 64, "wide_resnet50_2": 64, "densenet121": 64, "squeezenet1_1": 64, "mobilenet_v2": 64,
    "mobilenet_v3_small": 64, "mobilenet_v3_large": 64, "mnasnet0_5": 64, "shufflenet_v2_x0_5": 64, "efficientnet_b0": 64,
    "efficientnet_v2_s": 64, "regnet_x_400mf": 64, "regnet_y_400mf": 64, "convnext_tiny": 64,
    "segmentation.fcn_resnet50": 64, "segmentation.deeplabv3_mobilenet_v3_large": 64,
    "segmentation.lraspp_mobilenet_v3_large": 64,
}


def network(name):
    import torch
    import torchvision

    torch.manual_seed(0)
    module = torchvision.models
    for part in name.split("."):
        module = getattr(module, part)
    more = {"weights_backbone": None} if name.startswith("segmentation") else {}
    if name in ("googlenet", "inception_v3"):
        more = {"init_weights": False, "aux_logits": name == "inception_v3"}
    made = module(weights=None, **more)
    # Statistics as training leaves them: with those of a new network, outputs would hardly depend on the input.
    for layer in made.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return made.eval()


def export(name, dynamo, path):
    import torch

    example = torch.randn(2, 3, NETWORKS[name], NETWORKS[name])
    batch = {"dynamic_shapes": ({0: torch.export.Dim("N")},)} if dynamo else {"dynamic_axes": {"input": {0: "N"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network(name), (example,), str(path), dynamo=dynamo, verbose=False, input_names=["input"], **batch)


def difference(found, expected):
    if found.size != expected.size:
        return np.inf
    found = found.reshape(expected.shape)
    return float(np.max(np.abs(found - expected)) / max(np.max(np.abs(expected)), 1e-30))


def compare(path, svertka, folder):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    engine = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = engine.get_inputs()[0]
    shape = [dim if isinstance(dim, int) else 2 for dim in given.shape]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected = engine.run(None, {given.name: x})
    run = lambda *words: subprocess.run([svertka, *map(str, words)], check=True, capture_output=True)
    run("import", path, "-o", folder, "--name", "imported")
    text = (folder / "imported.cnn").read_text()
    names = [step.split()[1] for line in text.splitlines() for step in line.split("|") if step.split()[:1] == ["output"]]
    # The last is the main one, and first in the file.
    names = names[-1:] + names[:-1] if names else ["output"]
    np.save(folder / "x.npy", x)
    words = [word for name in names for word in ("--output", f"{name}={folder}/{name}.npy")]
    run("run", folder / "imported.cnn", "--exact", "--input", folder / "x.npy", *words)
    worst = max(difference(np.load(folder / f"{name}.npy"), array) for name, array in zip(names, expected))
    return worst, text.count("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help="all of torchvision's if none is named")
    parser.add_argument("--svertka", default=str(ROOT / "target/debug/svertka"))
    parser.add_argument("--keep", type=pathlib.Path, help="folder for exported files, which are taken from there if they exist")
    parser.add_argument("--functions", action="store_true")
    options = parser.parse_args()
    failed = []

    def judge(title, make):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            try:
                path = make(options.keep or folder)
                worst, lines = compare(path, options.svertka, folder)
                more = f"{lines} lines"
            except Exception as error:
                stderr = getattr(error, "stderr", None)
                worst, more = np.inf, (stderr or str(error).encode()).decode(errors="replace").strip()[:3000]
        ok = worst <= LIMIT
        failed.extend([] if ok else [title])
        print(f"{title:52} {worst:8.1e}  {more}{'' if ok else '  FAILED'}", flush=True)

    def exported(name, dynamo):
        def make(folder):
            path = folder / f"{name}.{'dynamo' if dynamo else 'script'}.onnx"
            if not path.exists():
                export(name, dynamo, path)
            if options.functions:
                model = folded(onnx.load(path))
                path = folder / "functions.onnx"
                onnx.save(model, path)
            return path
        return make

    for name in options.networks or NETWORKS:
        if name.endswith(".onnx"):
            judge(name, lambda _: pathlib.Path(name))
        else:
            for dynamo in (False,) if options.functions else (False, True):
                judge(f"{name} ({'dynamo' if dynamo else 'TorchScript'})", exported(name, dynamo))
    sys.exit(f"above {LIMIT}: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
