#!/usr/bin/env python3
"""Packs what PyTorch's exporters write for some modules for tests/import.rs.

    python tests/onnx/pack_patterns.py tests/data/onnx/patterns.safetensors

Run by hand: it needs torch, onnx, onnxscript and numpy. Both exporters write each module, the older one for two operator
sets; weights and inputs depend on the seed alone. Models, inputs and outputs are named as by pack_node_cases.py.
"""

import io
import logging
import sys
import warnings

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from pack_node_cases import write
from torch import nn

WAYS = {"older13": (False, 13), "older17": (False, 17), "dynamo": (True, 18)}


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class ChannelNorm(nn.LayerNorm):
    """As torchvision has it."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class FirstNorm(nn.Module):
    """As ConvNeXt's authors have it: over the channels where they are, by its formula."""

    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        square = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(square + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class Block(nn.Module):
    """A block of ConvNeXt, smaller."""

    def __init__(self, channels):
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1, self.pwconv2 = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)

    def forward(self, x):
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        return x + self.pwconv2(F.gelu(self.pwconv1(y))).permute(0, 3, 1, 2)


MODULES = {
    "group_norm": nn.GroupNorm(2, 8),
    "group_norm_one": nn.GroupNorm(1, 8),
    "group_norm_each": nn.GroupNorm(8, 8),
    "group_norm_plain": nn.GroupNorm(4, 8, affine=False),
    "layer_norm_channels": ChannelNorm(8),
    "layer_norm_first": FirstNorm(8),
    "layer_norm_block": Block(8),
    "layer_norm_all": nn.LayerNorm((8, 5, 6)),
    "layer_norm_lines": nn.LayerNorm(6, eps=1e-3),
    "layer_norm_plain": nn.LayerNorm((5, 6), elementwise_affine=False),
    "normalize": Function(F.normalize),
    "normalize_l1": Function(lambda x: F.normalize(x, p=1, eps=1e-3)),
    "normalize_flat": Function(lambda x: F.normalize(x.flatten(1))),
    "softmax_space": Function(lambda x: F.softmax(x.flatten(2), -1).view(x.shape)),
    "softmax_lines": nn.Softmax(-1),
    "log_softmax": nn.LogSoftmax(1),
    "softmax_all": Function(lambda x: F.softmax(x.flatten(1), 1).view(x.shape)),
}


def without_places(file):
    """The model without the lines of source that the exporters write beside its nodes: they name folders."""
    model = onnx.load_from_string(file)
    for node in model.graph.node:
        node.ClearField("doc_string")
        kept = [entry for entry in node.metadata_props if "stack_trace" not in entry.key]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    return model.SerializeToString()


def main():
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.manual_seed(12)
    packed = {}
    for name, module in MODULES.items():
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.5)
        network = nn.Sequential(nn.Conv2d(3, 8, 1), module).eval()
        x = torch.randn(2, 3, 5, 6)
        with torch.no_grad():
            y = network.double()(x.double()).float()
        network.float()
        for way, (dynamo, opset) in WAYS.items():
            file = io.BytesIO()
            if dynamo:
                torch.onnx.export(network, (x,), dynamo=True, opset_version=opset, verbose=False).save(file)
            else:
                torch.onnx.export(network, x, file, dynamo=False, opset_version=opset, input_names=["x"])
            case = f"{name}_{way}"
            packed[f"{case}/model"] = np.frombuffer(without_places(file.getvalue()), np.uint8)
            packed[f"{case}/in/{'input' if dynamo else 'x'}"] = x.numpy()
            packed[f"{case}/out/0"] = y.numpy()
    write(sys.argv[1], packed)
    print(f"{len(MODULES) * len(WAYS)} cases")


if __name__ == "__main__":
    main()
