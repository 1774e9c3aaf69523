#!/usr/bin/env python3
"""Writes tests/data/networks.yaml: figures of the networks of models/ that torchvision or tests/pytorch/networks.py has.

    python tests/zoo/figures.py

Run by hand: it needs torch and torchvision. Nothing is computed: the networks are built and run on torch's meta device.
"""

import functools
import pathlib
import sys
import types
from unittest import mock

import torch
import torch.fx
import torchvision
import torchvision.models as tv
from torch import nn
from torchvision.models.regnet import BlockParams

TESTS = pathlib.Path(__file__).resolve().parents[1]
TARGET = TESTS / "data" / "networks.yaml"
sys.path.append(str(TESTS / "pytorch"))
from networks import NETWORKS

NAMES = """
    alexnet vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg13_bn vgg16_bn vgg19_bn googlenet inception_v3
    resnet18 resnet34 resnet50 resnet101 resnet152 wide_resnet50_2 resnext50_32x4d
    densenet121 densenet161 densenet169 densenet201 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large
    efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5 efficientnet_b6
    efficientnet_b7 efficientnet_v2_s efficientnet_v2_m efficientnet_v2_l squeezenet1_0 squeezenet1_1
    shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0
    mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3
    regnet_x_400mf regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf regnet_x_8gf regnet_x_16gf regnet_x_32gf
    regnet_y_400mf regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf regnet_y_16gf regnet_y_32gf regnet_y_128gf
    convnext_tiny convnext_small convnext_base convnext_large
    fcn_resnet50 fcn_resnet101 deeplabv3_resnet50 deeplabv3_resnet101 deeplabv3_mobilenet_v3_large
    lraspp_mobilenet_v3_large r3d_18 mc3_18 r2plus1d_18
""".split()

# The weights whose accuracy is given: those that were published first, or the ones for the usual size.
WEIGHTS = {"regnet_y_128gf": "IMAGENET1K_SWAG_LINEAR_V1"}
# Those that end in a map; the field of their last is the whole input, or says little.
WITHOUT_FIELD = ("fcn", "deeplab", "lraspp", "yolo", "hed", "unet", "espcn", "fsrcnn", "dcgan")
regnet_rule = BlockParams.from_init_params


def weights_of(name):
    published = tv.get_model_weights(name)
    return published[WEIGHTS[name]] if name in WEIGHTS else list(published)[0]


def regnet_table(**how):
    """RegNet computes its table with tensors, of which the numbers are needed."""
    with torch.device("cpu"):
        return regnet_rule(**how)


def build(name, aux):
    """The network on the meta device, with its side outputs or without; `None` where it has none."""
    how = {}
    if name in NETWORKS:
        with torch.device("meta"):
            return None if aux else NETWORKS[name][0]().eval()
    if name in ("googlenet", "inception_v3"):
        how = {"aux_logits": aux, "init_weights": False}
    elif name.startswith(("fcn", "deeplab")):
        how = {"aux_loss": aux, "weights_backbone": None}
    elif aux:
        return None
    elif name.startswith("lraspp"):
        how = {"weights_backbone": None}
    with torch.device("meta"), mock.patch.object(BlockParams, "from_init_params", regnet_table):
        return tv.get_model(name, weights=None, **how).eval()


def input_size(name):
    """That of the weights; segmentation has none of its own, and takes pictures of about 520."""
    if name in NETWORKS:
        return list(NETWORKS[name][1])
    transforms = weights_of(name).transforms()
    crop = getattr(transforms, "crop_size", [520])
    return [3, 16, *crop] if len(crop) == 2 else [3, crop[0], crop[0]]


def macs(model, size):
    counted = {"conv": 0, "dense": 0}

    def count(module, inputs, output):
        kind = "dense" if isinstance(module, nn.Linear) else "conv"
        from_each = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        counted[kind] += from_each.numel() * module.weight[0].numel()

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)):
            module.register_forward_hook(count)
    model(torch.zeros(1, *size, device="meta"))
    # ConvNeXt's 1x1 convolutions are layers of `Linear` over channels that are last.
    if "ConvNeXt" in type(model).__name__:
        dense = model.classifier[-1].weight.numel()
        counted = {"conv": counted["conv"] + counted["dense"] - dense, "dense": dense}
    return counted


def fnv1a(text):
    """As the function of this name in src/hash.rs."""
    step = lambda hash, byte: (hash ^ byte) * 0x100000001B3 % 2**64
    return functools.reduce(step, text.encode(), 0xCBF29CE484222325)


def names(model):
    """The number of weights, and a hash of their names with the number of elements of each."""
    weights = {key: value.numel() for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    text = "".join(f"{key} {numel}\n" for key, numel in sorted(weights.items()))
    return f"{{ count: {len(weights)}, hash: 0x{fnv1a(text):016x} }}"


class Tracer(torch.fx.Tracer):
    def is_leaf_module(self, module, name):
        # The factors of a gate see the whole map, which says nothing of what the features see.
        own = isinstance(module, nn.Conv3d) or "SqueezeExcitation" in type(module).__name__
        return own or super().is_leaf_module(module, name)


def field(model, dims):
    """Size and stride of the receptive field of the last feature map, by dimension: the largest over all paths."""
    graph = Tracer().trace(model)
    modules, fields, last = dict(model.named_modules()), {}, None
    for node in graph.nodes:
        seen = [fields[arg] for arg in node.all_input_nodes if fields.get(arg)]
        own = union(seen) if seen else None
        if node.op == "placeholder":
            own = [(0, 0, 1)] * dims
        elif node.op == "call_module" and own:
            own = through(modules[node.target], own)
        elif getattr(node.target, "__name__", "") in ("avg_pool2d", "max_pool2d"):
            kernel = dict(zip(["kernel_size", "stride"], node.args[1:]))
            own = through(types.SimpleNamespace(**kernel | node.kwargs), own)
        elif node.op == "output" or node.target in (torch.flatten, "flatten", "mean", torch.nn.functional.adaptive_avg_pool2d):
            own = None
        fields[node], last = own, own or last
    return [[end - start + 1, stride] for start, end, stride in last]


def union(fields):
    axes = list(zip(*fields))
    assert all(len({stride for _, _, stride in axis}) == 1 for axis in axes), fields
    return [(min(a for a, _, _ in axis), max(b for _, b, _ in axis), axis[0][2]) for axis in axes]


def through(module, axes):
    if isinstance(module, (nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.Flatten)):
        return None
    if not hasattr(module, "kernel_size"):
        return axes
    spread = lambda value: [value] * len(axes) if isinstance(value, int) else value
    per_axis = [spread(getattr(module, key, 1)) for key in ("kernel_size", "stride", "padding", "dilation")]
    return [
        (start - pad * step, end + (dilation * (kernel - 1) - pad) * step, step * stride)
        for (start, end, step), kernel, stride, pad, dilation in zip(axes, *per_axis)
    ]


def entry(name):
    model, with_aux, size = build(name, False), build(name, True), input_size(name)
    yield f"input: {size}"
    yield f"parameters: {sum(p.numel() for p in model.parameters())}"
    yield f"buffers: {sum(b.numel() for key, b in model.named_buffers() if not key.endswith('num_batches_tracked'))}"
    counted = macs(model, size)
    yield f"macs: {{ conv: {counted['conv']}, dense: {counted['dense']} }}"
    if not name.startswith(WITHOUT_FIELD):
        yield f"field: {field(build(name, False), len(size) - 1)}"
    yield f"names: {names(model)}"
    if with_aux:
        yield f"names_with_aux: {names(with_aux)}"
    metrics = {} if name in NETWORKS else next(iter(weights_of(name).meta["_metrics"].values()))
    if "acc@1" in metrics:
        yield f"accuracy: {{ weights: {weights_of(name).name}, top1: {metrics['acc@1']}, top5: {metrics['acc@5']} }}"


def main():
    lines = [
        f"# Made by tests/zoo/figures.py from torchvision {torchvision.__version__.split('+')[0]} (BSD-3-Clause) and tests/pytorch/networks.py.",
        "# Multiply-accumulates are those of convolutions and dense layers, for one sample; buffers are the statistics of",
        "# batch norms; fields are size and stride by dimension, without squeeze and excitation; hashes are FNV-1a of the",
        "# sorted lines `NAME ELEMENTS` of all weights.",
    ]
    for name in NAMES + list(NETWORKS):
        lines += [f"{name}:", *(f"  {line}" for line in entry(name))]
    TARGET.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
