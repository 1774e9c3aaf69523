#!/usr/bin/env python3
"""Packs small ONNX models of what ONNX's own tests leave out, for tests/import.rs.

    python tests/onnx/pack_own_cases.py tests/data/onnx/own_cases.safetensors

Run by hand: it needs onnx, onnxruntime and numpy. Operators in older versions, over all kinds of axes, and the blocks that
networks are made from; what they give is what ONNX Runtime says. The file is laid out as that of pack_node_cases.py.
"""

import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from pack_node_cases import write

SHAPE = [2, 6, 4, 5]
packed = {}


def values(name, shape):
    return np.random.default_rng(sum(map(ord, name))).standard_normal(shape).astype(np.float32)


def case(name, nodes, inputs=None, opset=18, **constants):
    """A model of nodes, each (operator, operands, attributes), whose values are `v0`, `v1` and so on. Inputs, `x` of the usual
    shape if none are given, have these shapes; the last value is the output."""
    inputs = inputs or {"x": SHAPE}
    made = [helper.make_node(operator, operands, [f"v{i}"], **attributes)
            for i, (operator, operands, attributes) in enumerate(nodes)]
    info = [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in inputs.items()]
    last = helper.make_tensor_value_info(f"v{len(nodes) - 1}", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
    graph = helper.make_graph(made, name, info, [last], tensors)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])
    given = {key: values(name + key, shape) for key, shape in inputs.items()}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [output] = session.run(None, given)
    for key, array in given.items():
        packed[f"{name}/in/{key}"] = array
    packed[f"{name}/out/0"] = output
    packed[f"{name}/model"] = np.frombuffer(model.SerializeToString(), np.uint8)


def ints(*numbers):
    return np.array(numbers, np.int64)


def reductions():
    operators = "ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceSumSquare".split()
    lists = [[1], [2, 3], [-1], [-2], [1, 2, 3], [1, -1], [3, 2, 1]]
    for i, operator in enumerate(operators):
        for j, axes in enumerate(lists):
            keep = (i + j) % 2
            name = f"{operator}_{'_'.join(map(str, axes))}_keep{keep}"
            since = 13 if operator == "ReduceSum" else 18
            if j % 3 == 0:
                case(name, [(operator, ["x"], {"axes": axes, "keepdims": keep})], opset=11)
            else:
                case(name, [(operator, ["x", "axes"], {"keepdims": keep})], opset=since, axes=ints(*axes))
        last = [("Transpose", ["x"], {"perm": [0, 2, 3, 1]})]
        case(f"{operator}_of_channels_last", last + [(operator, ["v0"], {"axes": [-1], "keepdims": 1})], opset=11)
        case(f"{operator}_of_sample", [(operator, ["x"], {"keepdims": 1})], {"x": [6, 4, 5]}, opset=11)
    case("ReduceSum_noop", [("ReduceSum", ["x"], {"noop_with_empty_axes": 1}), ("Relu", ["v0"], {})])


def broadcasting():
    shapes = {"positions": [2, 1, 4, 5], "channels": [2, 6, 1, 1], "samples": [2, 1, 1, 1], "rows": [2, 6, 4, 1],
              "columns": [2, 1, 1, 5]}
    for of, shape in shapes.items():
        for operator in ("Add", "Sub", "Mul", "Div"):
            case(f"{operator}_{of}", [(operator, ["x", "y"], {})], {"x": SHAPE, "y": shape})
            case(f"{operator}_{of}_first", [(operator, ["y", "x"], {})], {"x": SHAPE, "y": shape})
    both = {"x": [2, 6, 1, 1], "y": [2, 1, 4, 5]}
    case("Add_both", [("Add", ["x", "y"], {})], both)
    case("Div_both", [("Div", ["x", "y"], {})], both)
    case("Add_of_sample", [("Add", ["x", "y"], {})], {"x": [4, 5], "y": [6, 1, 5]})
    case("Div_of_constant", [("Div", ["one", "x"], {})], one=np.float32(3))
    case("Div_by_constant", [("Div", ["x", "c"], {})], c=values("c", [6, 1, 1]))


def extremes():
    for operator in ("Max", "Min"):
        case(f"{operator}_number", [(operator, ["x", "c"], {})], c=np.float32(0.25))
        case(f"{operator}_number_first", [(operator, ["c", "x"], {})], opset=8, c=np.full([1], -0.5, np.float32))
        case(f"{operator}_of_three", [(operator, ["x", "y", "z"], {})], dict.fromkeys("xyz", SHAPE))
        case(f"{operator}_of_matrices", [(operator, ["x", "y"], {})], dict.fromkeys("xy", [3, 5]))
    for exponent in (1, 2, 3):
        case(f"Pow_{exponent}", [("Pow", ["x", "e"], {})], e=np.float32(exponent))
    case("Pow_root", [("Abs", ["x"], {}), ("Pow", ["v0", "e"], {})], e=np.float32(0.5))
    case("Reciprocal", [("Exp", ["x"], {}), ("Reciprocal", ["v0"], {})])


def pools():
    for p in (1, 2, 3):
        window = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}
        case(f"LpPool_{p}", [("LpPool", ["x"], {"p": p} | window)], opset=11)
        case(f"GlobalLpPool_{p}", [("GlobalLpPool", ["x"], {"p": p})], opset=11)
    case("LpPool_default", [("LpPool", ["x"], {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"})])


def moves():
    for perm in ([0, 1, 3, 2], [0, 2, 1, 3], [0, 2, 3, 1], [0, 3, 1, 2], [0, 3, 2, 1]):
        turn = ("Transpose", ["x"], {"perm": perm})
        digits = "".join(map(str, perm))
        case(f"Transpose_{digits}", [turn, ("Relu", ["v0"], {})])
        # Before a pooling, the input itself would be taken in another order.
        turned = [("Tanh", ["x"], {}), ("Transpose", ["v0"], {"perm": perm})]
        case(f"Transpose_{digits}_pool", turned + [("MaxPool", ["v1"], {"kernel_shape": [2, 2]})])
        case(f"Transpose_{digits}_join", [turn, ("Reshape", ["v0", "s"], {})], s=ints(0, 0, -1))
    head = [("Reshape", ["x", "s"], {}), ("Transpose", ["v0"], {"perm": [0, 1, 3, 4, 2]})]
    case("head", head, s=ints(0, 2, 3, 4, 5))
    case("head_of_rows", head + [("Reshape", ["v1", "r"], {}), ("Sigmoid", ["v2"], {})], s=ints(0, 2, 3, 4, 5),
         r=ints(0, -1, 3))
    case("head_of_pairs", [("Transpose", ["x"], {"perm": [0, 2, 3, 1]}), ("Reshape", ["v0", "s"], {})], s=ints(0, -1, 3))
    case("Reshape_across", [("Reshape", ["x", "s"], {}), ("Relu", ["v0"], {})], s=ints(0, 8, 15))
    case("Reshape_of_sample", [("Reshape", ["x", "s"], {})], {"x": [6, 4, 5]}, s=ints(8, 15))
    for axis in (2, 3, -1):
        shape = SHAPE[:axis] + [3] + SHAPE[axis:][1:]
        case(f"Concat_{axis}", [("Concat", ["x", "y"], {"axis": axis})], {"x": SHAPE, "y": shape})
    last = ("Transpose", ["x"], {"perm": [0, 2, 3, 1]})
    case("Concat_of_channels_last", [last, ("Concat", ["v0", "v0"], {"axis": 3}), ("Relu", ["v1"], {})])
    case("Slice_rows", [("Slice", ["x", "a", "b", "d"], {})], a=ints(1), b=ints(-1), d=ints(2))
    case("Slice_both", [("Slice", ["x"], {"starts": [1, 2], "ends": [4, 9], "axes": [1, 3]})], opset=9)
    case("Slice_back", [("Slice", ["x", "a", "b", "d", "s"], {})], a=ints(-1), b=ints(-9), d=ints(2), s=ints(-1))
    for axis, places in ((1, [5, 3, 4, 0, 0]), (2, [0, 1, 1, 2, 3]), (3, [4, 0])):
        case(f"Gather_{axis}", [("Gather", ["x", "i"], {"axis": axis}), ("Relu", ["v0"], {})], i=ints(*places))
    case("Gather_colours", [("Gather", ["x", "i"], {"axis": 1})], {"x": [2, 3, 4, 5]}, i=ints(2, 1, 0))
    case("Gather_of_channels_last", [last, ("Gather", ["v0", "i"], {"axis": -1})], i=ints(2, 3, 0))
    case("Expand", [("ReduceMean", ["x"], {"axes": [2, 3]}), ("Expand", ["v0", "s"], {})], opset=13, s=ints(2, 6, 4, 5))
    case("Expand_rows", [("ReduceMax", ["x"], {"axes": [2]}), ("Expand", ["v0", "s"], {})], opset=13, s=ints(1, 1, 3, 1))
    # Darknet's layer of this name, as PyTorch says it: parts of channels become positions, and others channels.
    split, joined = ints(0, 4, 6, 2, 12, 2), ints(0, 64, 3, 6)
    case("reorg", [("Relu", ["x"], {}), ("Reshape", ["v0", "s"], {}), ("Transpose", ["v1"], {"perm": [0, 3, 5, 1, 2, 4]}),
                   ("Reshape", ["v2", "j"], {})], {"x": [2, 16, 6, 12]}, s=split, j=joined)
    case("Split_columns", [("Split", ["x"], {"axis": 3, "split": [5]}), ("Relu", ["v0"], {})], opset=11)


def blocks():
    """Of published networks."""
    case("attention", [("ReduceMean", ["x"], {"axes": [1]}), ("ReduceMax", ["x"], {"axes": [1]}),
                       ("Concat", ["v1", "v0"], {"axis": 1}), ("Conv", ["v2", "w"], {"pads": [3] * 4}),
                       ("Sigmoid", ["v3"], {}), ("Mul", ["v4", "x"], {})], opset=13, w=values("w", [1, 2, 7, 7]))
    case("response", [("ReduceL2", ["x"], {"axes": [2, 3]}), ("ReduceMean", ["v0"], {"axes": [1]}), ("Add", ["v1", "e"], {}),
                      ("Div", ["v0", "v2"], {}), ("Mul", ["x", "v3"], {}), ("Mul", ["v4", "g"], {}), ("Add", ["x", "v5"], {})],
         opset=13, e=np.float32(1e-6), g=values("g", [1, 6, 1, 1]))
    case("context", [("GlobalAveragePool", ["x"], {}), ("Conv", ["v0", "w"], {}), ("Relu", ["v1"], {}), ("Add", ["x", "v2"], {})],
         w=values("w", [6, 6, 1, 1]))


def weights():
    """Of other types than f32."""
    w = values("w", [4, 6, 3, 3])
    convolution = ("Conv", ["x", "v0"], {})
    for name, array in {"f16": w.astype(np.float16), "f64": w.astype(np.float64), "int8": (20 * w).astype(np.int8),
                        "uint8": np.abs(20 * w).astype(np.uint8), "int32": (1e6 * w).astype(np.int32)}.items():
        case(f"Conv_{name}", [("Cast", ["w"], {"to": TensorProto.FLOAT}), convolution], w=array)
    small, one = (40 * w).astype(np.int8), np.float32(0.03)
    scales = np.abs(values("s", [4])) / 50
    case("Dequantize", [("DequantizeLinear", ["w", "s"], {}), convolution], w=small, s=one)
    case("Dequantize_zero", [("DequantizeLinear", ["w", "s", "z"], {}), convolution], opset=10, w=(small.astype(int) + 128).astype(np.uint8),
         s=one, z=np.uint8(131))
    case("Dequantize_channels", [("DequantizeLinear", ["w", "s", "z"], {"axis": 0}), convolution], opset=13, w=small, s=scales,
         z=np.array([0, 3, -2, 7], np.int8))
    case("Dequantize_blocks", [("DequantizeLinear", ["w", "s"], {"axis": 1, "block_size": 2}), convolution], opset=21, w=small,
         s=np.abs(values("b", [4, 3, 3, 3])) / 50)
    case("Dequantize_bias", [("DequantizeLinear", ["b", "s"], {"axis": 0}), ("Conv", ["x", "w", "v0"], {})], w=w, s=scales,
         b=np.array([3000, -70000, 5, 0], np.int32))
    both = [("QuantizeLinear", ["w", "s", "z"], {"axis": 0}), ("DequantizeLinear", ["v0", "s", "z"], {"axis": 0})]
    case("Quantize", both + [("Conv", ["x", "v1"], {})], w=w, s=scales, z=np.array([0, 3, -2, 7], np.int8))
    case("Quantize_uint8", [("QuantizeLinear", ["w", "s"], {}), ("DequantizeLinear", ["v0", "s"], {}), ("Conv", ["x", "v1"], {})],
         w=w, s=one)


def main():
    for cases in (reductions, broadcasting, extremes, pools, moves, blocks, weights):
        cases()
    write(sys.argv[1], packed)
    print(f"{sum(name.endswith('/model') for name in packed)} cases")


if __name__ == "__main__":
    main()
