#!/usr/bin/env python3
"""Packs networks whose sizes are free for tests/import.rs.

    python tests/onnx/pack_free.py tests/data/onnx/free.safetensors

Run by hand: it needs torch, onnx, onnxscript, onnxruntime and numpy. Both exporters of PyTorch write modules of
modules.py with all sizes but the channels open; what ONNX Runtime gives for inputs of other sizes is beside them. Models,
inputs and outputs are named as by pack_node_cases.py, inputs by their size and outputs below that; a size that is refused has none.
"""

import io
import logging
import sys
import warnings

import numpy as np
import onnxruntime
import torch
from modules import MODULES, make
from pack_node_cases import write
from pack_patterns import without_places

# One that all networks divide by, and one that none does.
SIZES = {1: [(40,), (77,)], 2: [(24, 16), (21, 27)]}
# Those in which something depends on the sizes.
NETWORKS = ["unet", "unet_resized", "unshuffle", "tcn", "pyramid", "yolo_head", "segmenter"]
WAYS = {"older": False, "dynamo": True}


def export(name, dynamo):
    shape = MODULES[name][1]
    names = ["L"] if len(shape) == 2 else ["H", "W"]
    axes = {0: "N"} | {axis + 2: size for axis, size in enumerate(names)}
    dynamic = torch.export.Dim.DYNAMIC
    free = {"dynamic_shapes": ({axis: dynamic for axis in axes},)} if dynamo else {"dynamic_axes": {"x": axes}}
    example, file = torch.randn(2, *shape), io.BytesIO()
    if dynamo:
        torch.onnx.export(make(name), (example,), dynamo=True, verbose=False, input_names=["x"], **free).save(file)
    else:
        torch.onnx.export(make(name), (example,), file, dynamo=False, verbose=False, input_names=["x"], **free)
    return without_places(file.getvalue())


def main():
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    packed = {}
    for name in NETWORKS:
        shape = MODULES[name][1]
        for way, dynamo in WAYS.items():
            case, model = f"{name}_{way}", export(name, dynamo)
            packed[f"{case}/model"] = np.frombuffer(model, np.uint8)
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            engine = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            for size in SIZES[len(shape) - 1]:
                title = "x".join(map(str, size))
                x = np.random.default_rng(0).standard_normal((2, shape[0], *size)).astype(np.float32)
                packed[f"{case}/in/{title}"] = x
                try:
                    found = engine.run(None, {"x": x})
                except Exception:  # It has no class of its own for sizes that do not go together.
                    found = []
                packed |= {f"{case}/out/{title}/{index}": y for index, y in enumerate(found)}
    write(sys.argv[1], packed)


if __name__ == "__main__":
    main()
