#!/usr/bin/env python3
"""Packs ONNX's own test cases of single operators for tests/import.rs.

    python tests/onnx/pack_node_cases.py tests/data/onnx/node_cases.safetensors

Run by hand: it needs onnx and numpy. Of the cases that onnx.backend.test makes (Apache-2.0, (c) the ONNX Project
Contributors), those of the operators that a convolutional network is made from, one operator each, are written: for each
the model as bytes, CASE/model, and what floating-point numbers go in and come out, CASE/in/NAME and CASE/out/INDEX.
Operands that are weights in a network, and inputs in a case, become constants of the model.
"""

import json
import sys
import warnings

import numpy as np
import onnx
from onnx import numpy_helper

OPERATORS = """
    Conv ConvTranspose MaxPool AveragePool GlobalAveragePool GlobalMaxPool LpPool BatchNormalization InstanceNormalization
    LayerNormalization GroupNormalization LRN Gemm MatMul Relu LeakyRelu PRelu Elu Selu Celu Mish HardSwish HardSigmoid
    Sigmoid Tanh Softplus Softsign ThresholdedRelu Gelu Swish Clip Softmax LogSoftmax Concat Split Slice Pad Resize Upsample
    DepthToSpace SpaceToDepth ReduceMean ReduceMax ReduceSum Transpose Reshape Flatten Squeeze Unsqueeze Add Sub Mul Div
    Identity Dropout Sum Max Min
""".split()
# Operators all of whose operands are values.
VALUES = "Concat Add Sub Mul Div Sum Max Min".split()


def floats(array):
    return isinstance(array, np.ndarray) and array.dtype.name in ("bfloat16", "float16", "float32", "float64")


def write(path, arrays):
    """A safetensors file of f32 and u8 arrays."""
    header, offset = {}, 0
    for name, array in arrays.items():
        place = [offset, offset + array.nbytes]
        header[name] = {"dtype": {"float32": "F32", "uint8": "U8"}[array.dtype.name], "shape": array.shape, "data_offsets": place}
        offset = place[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    with open(path, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        out.writelines(array.tobytes() for array in arrays.values())


def main():
    warnings.simplefilter("ignore")
    from onnx.backend.test.case.node import collect_testcases

    packed = {}
    cases = 0
    for case in collect_testcases(None):
        nodes = case.model.graph.node
        if "_expanded" in case.name or len(nodes) != 1 or nodes[0].op_type not in OPERATORS:
            continue
        cases += 1
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        inputs, outputs = case.data_sets[0]
        # Single numbers come as such.
        inputs = [np.asarray(value) if isinstance(value, np.generic) else value for value in inputs]
        for index, (value, array) in enumerate(zip(case.model.graph.input, inputs)):
            if index > 0 and nodes[0].op_type not in VALUES and isinstance(array, np.ndarray):
                model.graph.initializer.append(numpy_helper.from_array(array, value.name))
            elif floats(array):
                packed[f"{case.name}/in/{value.name}"] = array.astype(np.float32)
        for index, array in enumerate(outputs):
            if floats(array):
                packed[f"{case.name}/out/{index}"] = array.astype(np.float32)
        packed[f"{case.name}/model"] = np.frombuffer(model.SerializeToString(), np.uint8)
    write(sys.argv[1], packed)
    print(f"{cases} cases")


if __name__ == "__main__":
    main()
