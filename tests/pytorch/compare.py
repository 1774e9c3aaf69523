#!/usr/bin/env python3
"""Compares svertka with PyTorch on the networks of models/: those that torchvision has, and those of networks.py.

    python tests/pytorch/compare.py [--svertka target/debug/svertka] [--engine jit|portable|interp] [MODEL ...]

Run by hand: it needs torch, torchvision, safetensors and numpy. Each network gets seeded random weights and batch
norms with scales, shifts and statistics that are far from 1 and 0 but keep activations at a sane size; it is saved as
safetensors (with --pth by torch.save, with --half as f16), run by `svertka run` on a random input, and compared with
PyTorch in f64. The largest difference, relative to the largest output, must be below 1e-4; that of PyTorch in f32 is
printed beside it. Ends with 1 where it is not. Unknown options are passed to `svertka run`.
"""

import argparse
import copy
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torchvision.models as tv
from networks import NETWORKS
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT = 1e-4

FAMILIES = {
    "alexnet": ["alexnet"],
    "vgg": [f"vgg{n}{norm}" for n in (11, 13, 16, 19) for norm in ("", "_bn")],
    "googlenet": ["googlenet"],
    "inception_v3": ["inception_v3"],
    "resnet": [f"resnet{n}" for n in (18, 34, 50, 101, 152)] + ["wide_resnet50_2", "resnext50_32x4d"],
    "densenet": [f"densenet{n}" for n in (121, 161, 169, 201)],
    "efficientnet": [f"efficientnet_b{n}" for n in range(8)],
    "efficientnet_v2": [f"efficientnet_v2_{size}" for size in "sml"],
    "mobilenet_v2": ["mobilenet_v2"],
    "mobilenet_v3": ["mobilenet_v3_large", "mobilenet_v3_small"],
    "squeezenet": ["squeezenet1_0", "squeezenet1_1"],
    "shufflenet_v2": [f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")],
    "mnasnet": [f"mnasnet{width}" for width in ("0_5", "0_75", "1_0", "1_3")],
    "regnet": [f"regnet_{kind}_{size}" for kind in "xy" for size in "400mf 800mf 1_6gf 3_2gf 8gf 16gf 32gf".split()]
    + ["regnet_y_128gf"],
    "convnext": [f"convnext_{size}" for size in ("tiny", "small", "base", "large")],
    "fcn": ["fcn_resnet50", "fcn_resnet101"],
    "deeplabv3": ["deeplabv3_resnet50", "deeplabv3_resnet101", "deeplabv3_mobilenet_v3_large"],
    "lraspp": ["lraspp_mobilenet_v3_large"],
    "video_resnet": ["r3d_18", "mc3_18", "r2plus1d_18"],
    "darknet": ["darknet19", "darknet53"],
    "yolo": ["yolov2", "yolov3", "yolov3_tiny"],
}
# Files that are called as their variants begin.
FAMILIES |= {
    family: [name for name in NETWORKS if name.startswith(family)]
    for family in ("mobilenet_v1", "repvgg", "hed", "unet_transposed", "espcn", "fsrcnn", "dcgan")
}
SIZES = {"inception_v3": 299}
SIZES |= {f"efficientnet_b{n}": size for n, size in enumerate((224, 240, 288, 300, 380, 456, 528, 600))}
# Not those of the card: sizes are free, and these are not even ones. Pictures stay small enough for a test by hand.
SIZES |= {name: (221, 267) for family in ("fcn", "deeplabv3", "lraspp") for name in FAMILIES[family]}
SIZES |= {"hed": (160, 211), "unet_transposed": (176, 208), "espcn_x2": (61, 83), "fsrcnn_x4": (61, 83)}
SIZES |= {name: (16, 112, 112) for name in FAMILIES["video_resnet"]}

NORMS = (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
# What the last batch norm of a residual branch is called, by the class of its block.
LAST = {"Bottleneck": ["bn3"], "BasicBlock": ["bn2", "conv2.1"], "ResBottleneckBlock": ["f.c.1"]}


def shape_of(name):
    """Channels and sizes of the input."""
    channels, *usual = NETWORKS[name][1] if name in NETWORKS else (3, 224, 224)
    size = SIZES.get(name, usual)
    return (channels, size, size) if isinstance(size, int) else (channels, *size)


def create(name):
    if name in NETWORKS:
        return NETWORKS[name][0]()
    how = {}
    if name in ("googlenet", "inception_v3"):
        how["init_weights"] = False  # takes long, and would not be kept anyway
    elif any(name in FAMILIES[family] for family in ("fcn", "deeplabv3", "lraspp")):
        how["weights_backbone"] = None
    return tv.get_model(name, weights=None, **how)


def build(name):
    """The network in f32 with weights that depend on nothing but its name."""
    torch.manual_seed(0)
    model = create(name)
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)) and module.bias is not None:
            torch.nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, torch.nn.PReLU):
            torch.nn.init.uniform_(module.weight, -0.2, 0.5)
        if hasattr(module, "layer_scale"):
            torch.nn.init.uniform_(module.layer_scale, 0.1, 0.4)
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
    return normalised(model, name)


def normalised(model, name):
    """Statistics from a batch of noise, so that nothing grows or dies out; then scales and shifts of any size."""
    norms = [module for module in model.modules() if isinstance(module, NORMS)]
    # What a residual branch adds is small beside what it is added to, as in trained networks. Otherwise rounding
    # errors grow from block to block in any engine: PyTorch's own are 3e-4 of the output of such a ResNet-152.
    modules = dict(model.named_modules())
    last = [modules.get(f"{name}.{norm}") for name, module in modules.items() for norm in LAST.get(type(module).__name__, [])]
    for norm in norms:
        low, high = (0.1, 0.4) if any(norm is other for other in last) else (0.5, 1.5)
        torch.nn.init.uniform_(norm.weight, low, high)
        torch.nn.init.normal_(norm.bias, std=0.2)
        norm.momentum = None  # the plain average
    if norms:
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout) or type(module).__name__ == "StochasticDepth":
                module.eval()
        channels, *sizes = shape_of(name)
        with torch.no_grad():
            # Large ones would take long; detectors halve theirs five times.
            model(torch.randn(4, channels, *(size if size < 300 else 288 for size in sizes)))
        for norm in norms:
            norm.running_mean += 0.1 * torch.randn_like(norm.running_mean) * norm.running_var.sqrt()
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.25)
    return model.eval()


def save(model, folder, options):
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    if options.half:
        weights = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
        model.load_state_dict(weights)
    path = folder / ("weights.pth" if options.pth else "weights.safetensors")
    torch.save(weights, path) if options.pth else save_file(weights, path)
    return path


def outputs_of(model, x):
    """By name; that of segmentation is one of several of PyTorch's, and svertka has the side outputs of no one."""
    with torch.no_grad():
        found = model(x)
    if not isinstance(found, dict):
        return {"output": found.numpy()}
    return {"output" if name == "out" else name: value.numpy() for name, value in found.items() if name != "aux"}


def compare(family, name, options, folder):
    """The largest difference of svertka, and that of PyTorch in f32, relative to the largest value of an output."""
    model = build(name)
    weights = save(model, folder, options)
    x = torch.randn(options.batch, *shape_of(name))
    np.save(folder / "x.npy", x.numpy())
    expected, of_torch = outputs_of(copy.deepcopy(model).double(), x.double()), outputs_of(model, x)
    variant, training, _ = name.partition("_train")
    file = ROOT / "models" / f"{family}.cnn"
    command = [options.svertka, "run", str(file) if family == variant else f"{file}:{variant}", "--weights", str(weights)]
    command += ["-D", "deploy=false"] if training else []
    command += ["--input", str(folder / "x.npy"), "--engine", options.engine]
    command += [f"--output={output}={folder / output}.npy" for output in expected if output != "output"]
    command += ["--output", str(folder / "output.npy")]
    subprocess.run(command + options.rest, check=True, stdout=subprocess.DEVNULL)
    differences = []
    for output, y in expected.items():
        found = np.load(folder / f"{output}.npy")
        assert found.shape == y.shape, f"{output}: {found.shape}, not {y.shape}"
        differences.append([float(np.abs(values - y).max() / np.abs(y).max()) for values in (found, of_torch[output])])
    return np.max(differences, axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="all if none is named")
    parser.add_argument("--svertka", default=str(ROOT / "target/debug/svertka"))
    parser.add_argument("--engine", default="jit")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--pth", action="store_true")
    parser.add_argument("--half", action="store_true")
    options, options.rest = parser.parse_known_args()
    known = {name: family for family, names in FAMILIES.items() for name in names}
    failed = []
    for name in options.models or known:
        with tempfile.TemporaryDirectory() as folder:
            difference, of_torch = compare(known[name], name, options, pathlib.Path(folder))
        ok = difference <= LIMIT
        failed += [] if ok else [name]
        print(f"{name:28} {difference:8.1e}  PyTorch {of_torch:8.1e}{'' if ok else '  FAILED'}", flush=True)
    sys.exit(f"above {LIMIT}: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
