#!/usr/bin/env python3
"""Packs quantised networks and what ONNX Runtime makes of them for tests/import.

    python tests/onnx/pack_quantised.py tests/data/onnx

writes quantised_runtime.safetensors, quantised_operators.safetensors and quantised_tools.safetensors.

Run by hand: it needs onnx, onnxruntime and numpy. Some are written by ONNX Runtime's static quantisation, others by hand as
other tools write them. Outputs are those of ONNX Runtime with its optimisations left out: each node as ONNX defines it.
CASE/out/step is the scale of the output. Names are as by pack_node_cases.py.
"""

import os
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from pack_node_cases import write

RNG = np.random.default_rng(7)
SHAPE = (3, 8, 8)
# Ranges are found from these, and the first one is run: what is beyond a range would be cut off.
EXAMPLES = [RNG.standard_normal((2, *SHAPE)).astype("f") for _ in range(8)]


class Net:
    """A graph that is written node by node; every method gives the name of a value."""

    def __init__(self):
        self.nodes, self.constants, self.count = [], [], 0

    def constant(self, name, array):
        self.constants.append(nh.from_array(np.asarray(array), name))
        return name

    def node(self, operator, *inputs, output=None, **attributes):
        self.count += 1
        output = output or f"v{self.count}"
        self.nodes.append(h.make_node(operator, list(inputs), [output], name=f"/{output}/{operator}", **attributes))
        return output

    def weights(self, name, *shape):
        fan_in = np.prod(shape[1:])
        weight = (RNG.standard_normal(shape) * np.sqrt(1.5 / fan_in)).astype("f")
        return weight, (RNG.standard_normal(shape[0]) * 0.2).astype("f")

    def conv(self, x, name, *shape, bias=True, **attributes):
        weight, b = self.weights(name, *shape)
        inputs = [self.constant(f"{name}.weight", weight)] + ([self.constant(f"{name}.bias", b)] if bias else [])
        pads = [shape[2] // 2] * 4
        return self.node("Conv", x, *inputs, output=f"{name}_out", pads=pads, **attributes)

    def dense(self, x, name, *shape):
        weight, b = self.weights(name, *shape)
        return self.node("Gemm", x, self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", b), transB=1)

    def head(self, x, channels):
        """The mean of all positions, and five scores."""
        x = self.node("Flatten", self.node("GlobalAveragePool", x))
        return self.dense(x, "fc", 5, channels)

    def model(self, y, opset=17):
        self.nodes[-1].output[0] = "y"
        graph = h.make_graph(
            self.nodes,
            "net",
            [h.make_tensor_value_info("x", T.FLOAT, ["N", *SHAPE])],
            [h.make_tensor_value_info("y", T.FLOAT, ["N", 5])],
            self.constants,
        )
        opsets = [h.make_opsetid("", opset)]
        return h.make_model(graph, opset_imports=opsets, ir_version=10 if opset > 18 else 8)

    # As tools write quantised networks.

    def rounded(self, x, scale, zero, clip=None, scale_zero=None):
        """x, quantised and dequantised."""
        name = f"q{self.count}"
        scale, zero = self.constant(f"{name}.scale", np.array(scale, "f")), self.constant(f"{name}.zero", zero)
        q = self.node("QuantizeLinear", x, scale, zero)
        if clip:
            limits = [self.constant(f"{name}.{end}", np.array(value, "uint8")) for end, value in zip("ab", clip)]
            q = self.node("Clip", q, *limits)
        return self.node("DequantizeLinear", q, scale, zero)

    def rounded_conv(self, x, name, *shape, step=None, dense=False, kind="int8", axis=0, **attributes):
        """A convolution or dense layer with weights of eight bits, the bias in steps or in f32."""
        weight, bias = self.weights(name, *shape)
        scale = (np.abs(weight).reshape(shape[0], -1).max(1) / 127).astype("f")
        whole = np.round(weight / scale.reshape(-1, *[1] * (len(shape) - 1))).astype(kind)
        scale = self.constant(f"{name}.weight_scale", scale)
        zero = self.constant(f"{name}.weight_zero", np.zeros(shape[0], kind))
        w = self.node("DequantizeLinear", self.constant(f"{name}.weight", whole), scale, zero, axis=axis)
        if step is None:
            b = self.constant(f"{name}.bias", bias)
        else:
            steps = (step * nh.to_array(self.constants[-3])).astype("f")
            b = self.constant(f"{name}.bias", np.round(bias / steps).astype("int32"))
            b = self.node("DequantizeLinear", b, self.constant(f"{name}.bias_scale", steps), axis=0)
        if dense:
            return self.node("Gemm", x, w, b, transB=1)
        return self.node("Conv", x, w, b, output=f"{name}_out", pads=[shape[2] // 2] * 4, **attributes)


def chain(net):
    """Activations that quantising makes nothing of, poolings, groups."""
    x = net.node("Relu", net.conv("x", "conv1", 8, 3, 3, 3))
    x = net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.node("Relu", net.conv(x, "conv2", 8, 1, 3, 3, group=8))
    x = net.node("AveragePool", net.conv(x, "conv3", 8, 8, 1, 1, bias=False), kernel_shape=[2, 2], strides=[2, 2])
    return net.head(net.node("Relu", x), 8)


def residual(net):
    x = net.node("Relu", net.conv("x", "conv1", 8, 3, 3, 3))
    y = net.node("Relu", net.conv(x, "conv2", 8, 8, 3, 3))
    x = net.node("Relu", net.node("Add", net.conv(y, "conv3", 8, 8, 3, 3), x))
    y = net.conv(x, "conv4", 12, 8, 3, 3, strides=[2, 2])
    return net.head(net.node("Relu", net.node("Add", y, net.conv(x, "down", 12, 8, 1, 1, strides=[2, 2]))), 12)


def relu6(net):
    limits = [net.constant("low", np.array(0, "f")), net.constant("high", np.array(6, "f"))]
    x = net.node("Clip", net.conv("x", "conv1", 8, 3, 3, 3, strides=[2, 2]), *limits)
    x = net.node("Clip", net.conv(x, "conv2", 8, 1, 3, 3, group=8), *limits)
    return net.head(net.conv(x, "conv3", 6, 8, 1, 1), 6)


def fire(net):
    """Values side by side, each with a scale of its own."""
    x = net.node("Relu", net.conv("x", "squeeze", 4, 3, 1, 1))
    a = net.node("Relu", net.conv(x, "expand1", 4, 4, 1, 1))
    b = net.node("Relu", net.conv(x, "expand3", 4, 4, 3, 3))
    x = net.node("Concat", a, b, axis=1)
    return net.head(net.node("Relu", net.conv(x, "conv", 6, 8, 3, 3)), 6)


def gated(net):
    """Activations of other functions, and a gate."""
    x = net.node("HardSwish", net.conv("x", "conv1", 8, 3, 3, 3))
    g = net.node("Relu", net.conv(net.node("GlobalAveragePool", x), "fc1", 4, 8, 1, 1))
    g = net.node("Sigmoid", net.conv(g, "fc2", 8, 4, 1, 1))
    return net.head(net.conv(net.node("Mul", x, g), "conv2", 6, 8, 1, 1), 6)


class Examples(CalibrationDataReader):
    def __init__(self):
        self.left = [{"x": example} for example in EXAMPLES]

    def get_next(self):
        return self.left.pop() if self.left else None


def quantised(write_net, **options):
    """What ONNX Runtime's static quantisation makes of a network."""
    net = Net()
    with tempfile.TemporaryDirectory() as folder:
        before, after = (os.path.join(folder, name) for name in ("before.onnx", "after.onnx"))
        onnx.save(net.model(write_net(net)), before)
        options = {"quant_format": QuantFormat.QDQ, "activation_type": QuantType.QUInt8, **options}
        quantize_static(before, after, Examples(), weight_type=QuantType.QInt8, **options)
        return onnx.load(after)


def symmetric():
    """As TensorRT's tools: around 0, weights rounded in the graph, what is added in f32, norms left."""
    net, zero = Net(), np.int8(0)

    def conv(x, name, *shape):
        weight, bias = net.weights(name, *shape)
        scale = net.constant(f"{name}.scale", (np.abs(weight).reshape(shape[0], -1).max(1) / 127).astype("f"))
        w, z = net.constant(f"{name}.weight", weight), net.constant(f"{name}.zero", np.zeros(shape[0], "int8"))
        w = net.node("DequantizeLinear", net.node("QuantizeLinear", w, scale, z, axis=0), scale, z, axis=0)
        x = net.node("Conv", x, w, output=f"{name}_out", pads=[shape[2] // 2] * 4)
        norm = [RNG.uniform(0.5, 1.5, shape[0]) * RNG.choice([-1, 1], shape[0]), bias, bias / 3, RNG.uniform(0.5, 2, shape[0])]
        roles = ("weight", "bias", "running_mean", "running_var")
        norm = [net.constant(f"{name}_bn.{role}", array.astype("f")) for role, array in zip(roles, norm)]
        return net.node("BatchNormalization", x, *norm)

    x = net.node("Relu", conv(net.rounded("x", 0.03, zero), "conv1", 8, 3, 3, 3))
    y = net.node("Relu", conv(net.rounded(x, 0.03, zero), "conv2", 8, 8, 3, 3))
    y = conv(net.rounded(y, 0.02, zero), "conv3", 8, 8, 3, 3)
    x = net.node("Relu", net.node("Add", y, net.rounded(x, 0.03, zero)))
    x = net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.node("Relu", conv(net.rounded(x, 0.04, zero), "conv4", 8, 8, 1, 1))
    x = net.node("GlobalAveragePool", net.rounded(x, 0.03, zero))
    x = net.rounded(net.node("Flatten", x), 0.01, zero)
    return net.model(net.rounded(net.rounded_conv(x, "fc", 5, 8, dense=True), 0.01, zero))


def seven_bits():
    """As PyTorch writes fewer bits: by Clip between the two."""
    net, clip = Net(), (0, 127)
    x = net.rounded("x", 0.05, np.uint8(64), clip)
    x = net.node("Relu", net.rounded_conv(x, "conv1", 8, 3, 3, 3, step=0.05))
    x = net.rounded(x, 0.03, np.uint8(0), clip)
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    x = net.rounded(x, 0.01, np.uint8(0), clip)
    return net.model(net.rounded(net.rounded_conv(x, "fc", 5, 8, step=0.01, dense=True), 0.02, np.uint8(64), clip))


def transposed():
    """As TensorFlow's converter: a matrix of features times outputs, an addition behind it, a transposed kernel."""
    net = Net()
    x = net.rounded("x", 0.03, np.uint8(128))
    weight, bias = net.weights("conv", 6, 3, 3, 3)
    whole = net.constant("conv.weight", np.round(weight.transpose(2, 3, 1, 0) * 200).clip(-127, 127).astype("int8"))
    w = net.node("DequantizeLinear", whole, net.constant("conv.scale", np.array(1 / 200, "f")))
    x = net.node("Conv", x, net.node("Transpose", w, perm=[3, 2, 0, 1]), net.constant("conv.bias", bias))
    x = net.rounded(net.node("Relu", x), 0.03, np.uint8(0))
    x = net.rounded(net.node("GlobalAveragePool", x), 0.01, np.uint8(0))
    x = net.node("Reshape", x, net.constant("shape", np.array([-1, 6], "int64")))
    weight, bias = net.weights("fc", 5, 6)
    scale = net.constant("fc.scale", (np.abs(weight).max(1) / 127).astype("f"))
    whole = np.round(weight / nh.to_array(net.constants[-1])[:, None]).astype("int8").T.copy()
    w = net.node("DequantizeLinear", net.constant("fc.weight", whole), scale, net.constant("fc.zero", np.zeros(5, "int8")), axis=1)
    y = net.node("Add", net.node("MatMul", x, w), net.constant("fc.bias", bias))
    return net.model(net.rounded(y, 0.02, np.uint8(128)))


def f32_layers():
    """Layers that cannot be had, one for each reason, and one that can."""
    net, zero = Net(), np.uint8(128)

    def conv(x, name, kind, weight, scale, zero):
        b = net.constant(f"{name}.bias", (RNG.standard_normal(len(weight)) * 0.2).astype("f"))
        tensor = h.make_tensor(f"{name}.weight", kind, weight.shape, weight.flatten())
        net.constants.append(tensor)
        scale, zero = net.constant(f"{name}.scale", scale), h.make_tensor(f"{name}.zero", kind, np.shape(scale), np.broadcast_to(zero, np.shape(scale)).flatten())
        net.constants.append(zero)
        w = net.node("DequantizeLinear", f"{name}.weight", scale, f"{name}.zero")
        return net.node("Conv", x, w, b, output=f"{name}_out", pads=[weight.shape[2] // 2] * 4)

    def whole(low, high, *shape):
        return RNG.integers(low, high, shape, endpoint=True)

    def part(value):
        return np.array(value, "f")

    least = whole(-127, 127, 6, 3, 3, 3)
    least[0, 0, 0, 0] = -128
    x = conv(net.rounded("x", 0.03, zero), "least", T.INT8, least, part(0.003), 0)
    x = conv(net.rounded(x, 0.03, zero), "uneven", T.UINT8, whole(0, 255, 6, 6, 1, 1), part(0.004), 100)
    x = conv(net.rounded(x, 0.03, zero), "even", T.UINT8, whole(1, 255, 6, 6, 1, 1), part(0.004), 128)
    x = conv(net.rounded(x, 0.03, zero), "long", T.INT16, whole(-30000, 30000, 6, 6, 1, 1), part(2e-5), 0)
    x = conv(net.rounded(x, 0.03, zero), "short", T.INT4, whole(-8, 7, 6, 6, 1, 1), part(0.06), 0)
    x = conv(net.rounded(x, 0.03, zero), "point", T.FLOAT8E4M3FN, RNG.standard_normal((6, 6, 1, 1)), part(0.5), 0)
    x = conv(x, "weights_only", T.INT8, whole(-127, 127, 6, 6, 1, 1), part(0.004), 0)
    x = conv(net.rounded(x, 1e-4, np.uint16(30000)), "fine", T.INT8, whole(-127, 127, 6, 6, 1, 1), part(0.004), 0)
    scales = net.constant("axis.scale", np.linspace(0.02, 0.05, 6, dtype="f"))
    zeros = net.constant("axis.zero", np.full(6, 128, "uint8"))
    x = net.node("DequantizeLinear", net.node("QuantizeLinear", x, scales, zeros, axis=1), scales, zeros, axis=1)
    x = conv(x, "channels", T.INT8, whole(-127, 127, 6, 6, 1, 1), part(0.004), 0)
    x = net.rounded(net.node("Flatten", net.node("GlobalAveragePool", x)), 0.01, zero)
    return net.model(net.rounded(net.rounded_conv(x, "fc", 5, 6, dense=True), 0.02, zero), 21)


def packs():
    operators = {"quant_format": QuantFormat.QOperator}
    yield "runtime", {
        "channels": quantised(chain, per_channel=True),
        "signed": quantised(chain, activation_type=QuantType.QInt8),
        "residual": quantised(residual, per_channel=True),
        "relu6": quantised(relu6, per_channel=True),
        "fire": quantised(fire, per_channel=True),
    }
    yield "operators", {
        "gated": quantised(gated, per_channel=True),
        "words": quantised(chain, activation_type=QuantType.QUInt16),
        "operators": quantised(residual, per_channel=True, **operators),
        "operators_fire": quantised(fire, **operators),
        "operators_gated": quantised(gated, **operators),
    }
    yield "tools", {
        "symmetric": symmetric(),
        "seven_bits": seven_bits(),
        "transposed": transposed(),
        "f32_layers": f32_layers(),
    }


def main():
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    for name, cases in packs():
        pack(os.path.join(sys.argv[1], f"quantised_{name}.safetensors"), cases, options)


def pack(path, cases, options):
    packed = {}
    for name, model in cases.items():
        del model.graph.value_info[:]
        onnx.checker.check_model(model)
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        x = EXAMPLES[0]
        last = next(node for node in model.graph.node if node.output[0] == "y")
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        packed[f"{name}/in/x"], packed[f"{name}/out/0"] = x, session.run(None, {"x": x})[0]
        packed[f"{name}/out/step"] = nh.to_array(constants[last.input[1]]).astype("f").reshape(1)
        packed[f"{name}/model"] = np.frombuffer(model.SerializeToString(), np.uint8)
    write(path, packed)
    print(f"{path}: {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    main()
