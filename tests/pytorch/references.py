#!/usr/bin/env python3
"""Writes the references that tests/references.rs compares with: what PyTorch says of every layer with every argument.

    python tests/pytorch/references.py

Run by hand, when a layer or an argument is added: it needs torch, numpy and safetensors. For each model below it
writes two files into tests/pytorch/references/: NAME.cnn, with one line a case, and NAME.safetensors, with the inputs
and weights in f32 and what PyTorch computes of them in f64, rounded to f32, each under the name that the model gives
it. Sizes are odd and batches hold two samples; everything depends on the seed alone.

Each case says the same twice, in the language of the models and as PyTorch; neither text is derived from the other.
"""

import math
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

FOLDER = pathlib.Path(__file__).resolve().parent / "references"
SIZES = {
    "image": (6, 9, 11),
    "broad": (20, 5, 7),
    "sound": (4, 23),
    "solid": (3, 4, 5, 6),
    "flat": (13,),
    "ones": (7, 1, 1),
}


class Model:
    """A model file and its tensors. Weights are f64 modules filled with values that f32 holds."""

    def __init__(self, name, title):
        self.name, self.title, self.inputs, self.lines, self.tensors = name, title, {}, [], {}
        torch.manual_seed(sum(map(ord, name)))

    def input(self, name, values=None):
        """An input of `SIZES`, or of these values, for all cases that take it."""
        if name not in self.inputs:
            values = torch.randn(2, *SIZES[name]) if values is None else values
            self.inputs[name] = values.float()
        return self.inputs[name].double()

    def case(self, label, text, what, of="image"):
        """`label: text` on the input `of` gives what the module or function `what` gives."""
        x = self.input(of)
        if isinstance(what, nn.Module):
            # Under the label, as a block of the language names what lies in it.
            what = filled(what)
            self.tensors |= {f"{label}.{key}": value.float() for key, value in what.state_dict().items()
                             if not key.endswith("num_batches_tracked")}
        with torch.no_grad():
            y = what(x)
        assert label not in self.tensors | SIZES and y.dtype == torch.float64, label
        self.tensors[label] = y.float()
        self.lines.append(f"  from {of} | {label}: {text} | output {label}")

    def write(self):
        sizes = {name: ", ".join(map(str, values.shape[1:])) for name, values in self.inputs.items()}
        inputs = [f"input {name}: f32[N, {dims}]" for name, dims in sizes.items()]
        text = [f"# {self.title} Written by tests/pytorch/references.py.", f"model {self.name}", *inputs, "",
                "net {", *self.lines, "}", ""]
        (FOLDER / f"{self.name}.cnn").write_text("\n".join(text))
        tensors = {key: value.contiguous() for key, value in (self.tensors | self.inputs).items()}
        save_file(tensors, FOLDER / f"{self.name}.safetensors")


def filled(module):
    """Weights of a sane size; statistics and scales that are far from 0 and 1."""
    for key, value in module.state_dict().items():
        if not value.is_floating_point():
            continue
        if key.endswith("running_var"):
            value.uniform_(0.3, 2)
        elif value.dim() == 1:
            value.normal_(std=0.5)
        else:
            value.normal_(std=1 / math.sqrt(value[0].numel()))
    return module.float().double().eval()


class Padded(nn.Module):
    """A layer on a padded input, with `sides` as F.pad takes them: the last dimension first. The names of its weights
    are the layer's own."""

    def __init__(self, sides, layer, value=0.0):
        super().__init__()
        self.sides, self.value, self.call = sides, value, layer.forward
        self._parameters, self._buffers = layer._parameters, layer._buffers

    def forward(self, x):
        return self.call(F.pad(x, self.sides, value=self.value))


class Cropped(nn.Module):
    """A part of what a layer makes: slices of the spatial dimensions."""

    def __init__(self, part, layer):
        super().__init__()
        self.part, self.call = (slice(None), slice(None), *part), layer.forward
        self._parameters, self._buffers = layer._parameters, layer._buffers

    def forward(self, x):
        return self.call(x)[self.part]


class Net(nn.Module):
    """Named layers and what is done with them."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.function(self, x)


class Scale(nn.Module):
    """A factor and perhaps a summand of each channel."""

    def __init__(self, channels, bias=False):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None

    def forward(self, x):
        of_channel = lambda values: values.reshape(-1, *[1] * (x.dim() - 2))
        y = x * of_channel(self.weight)
        return y if self.bias is None else y + of_channel(self.bias)


def same(size, kernel, stride):
    """TensorFlow's SAME padding of one dimension: the odd one behind."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def conv():
    m = Model("conv", "Convolutions of one, two and three dimensions.")
    m.case("plain", "conv 3x3, 5", conv2(6, 5, 3))
    m.case("bias", "conv 3x3, 17, bias", conv2(6, 17, 3, bias=True))
    m.case("stride", "conv 3x2, 5, stride 2x3", conv2(6, 5, (3, 2), stride=(2, 3)))
    m.case("dilation", "conv 3x3, 5, dilation 2x3", conv2(6, 5, 3, dilation=(2, 3)))
    m.case("half", "conv 5x3, 5, half", conv2(6, 5, (5, 3), padding=(2, 1)))
    m.case("half_even", "conv 4x2, 5, half", conv2(6, 5, (4, 2), padding=(2, 1)))
    m.case("half_dilated", "conv 3x3, 5, dilation 2, half", conv2(6, 5, 3, dilation=2, padding=2))
    m.case("same_even", "conv 4x2, 5, same", conv2(6, 5, (4, 2), padding="same"))
    m.case("same_dilated", "conv 2x3, 5, dilation 3x2, same", conv2(6, 5, (2, 3), dilation=(3, 2), padding="same"))
    sides = same(11, 4, 3) + same(9, 4, 2)
    m.case("same_strided", "conv 4x4, 5, stride 2x3, same", Padded(sides, conv2(6, 5, 4, stride=(2, 3))))
    m.case("pad", "conv 3x3, 5, pad 2", conv2(6, 5, 3, padding=2))
    m.case("pad_dims", "conv 3x3, 5, pad (1, 2)", conv2(6, 5, 3, padding=(1, 2)))
    m.case("pad_sides", "conv 3x3, 5, stride 2, pad (2, 0, 1, 3)", Padded((1, 3, 2, 0), conv2(6, 5, 3, stride=2)))
    m.case("pad_wide", "conv 3x3, 5, pad 4", conv2(6, 5, 3, padding=4))
    m.case("groups", "conv 3x3, 9, groups 3, bias", conv2(6, 9, 3, groups=3, bias=True))
    m.case("groups_wide", "conv 3x3, 16, groups 2, half", conv2(20, 16, 3, groups=2, padding=1), "broad")
    m.case("pointwise", "conv 1x1, 19", conv2(6, 19, 1))
    m.case("pointwise_wide", "conv 1x1, 33, bias", conv2(20, 33, 1, bias=True), "broad")
    m.case("pointwise_strided", "conv 1x1, 5, stride 2", conv2(6, 5, 1, stride=2))
    m.case("wide", "conv 3x3, 24, half, bias", conv2(20, 24, 3, padding=1, bias=True), "broad")
    m.case("row", "conv 1x7, 5, half", conv2(6, 5, (1, 7), padding=(0, 3)))
    m.case("column", "conv 7x1, 5, half", conv2(6, 5, (7, 1), padding=(3, 0)))
    kernel = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -0.25]], dtype=torch.float64)
    m.case("fixed", "conv 2x3, 2, groups 2, weights [[1, -2, 0.5], [0, 3, -0.25]]",
           lambda x: F.conv2d(x, kernel.expand(2, 3, 2, 3), groups=2))
    layer = conv1(4, 7, 5, stride=2, dilation=2, bias=True)
    m.case("signal", "conv 5, 7, stride 2, dilation 2, pad (1, 2), bias", Padded((1, 2), layer), "sound")
    m.case("signal_depthwise", "conv 3, 4, groups 4, half", conv1(4, 4, 3, groups=4, padding=1), "sound")
    m.case("volume", "conv 2x3x3, 4, half, bias", conv3(3, 4, (2, 3, 3), padding=1, bias=True), "solid")
    layer = Padded((0, 2, 0, 0, 1, 0), conv3(3, 4, (3, 2, 3), stride=(1, 2, 3)))
    m.case("volume_sides", "conv 3x2x3, 4, stride 1x2x3, pad (1, 0, 0, 0, 0, 2)", layer, "solid")
    m.write()


def conv_transpose():
    m = Model("conv_transpose", "Transposed convolutions of one, two and three dimensions.")
    m.case("plain", "conv_transpose 3x2, 5", deconv2(6, 5, (3, 2)))
    m.case("bias", "conv_transpose 2x2, 17, stride 2, bias", deconv2(6, 17, 2, stride=2, bias=True))
    m.case("doubled", "conv_transpose 4x4, 5, stride 2, pad 1", deconv2(6, 5, 4, stride=2, padding=1))
    m.case("extra", "conv_transpose 3x3, 5, stride 2, pad 1, output_padding 1",
           deconv2(6, 5, 3, stride=2, padding=1, output_padding=1))
    m.case("extra_dims", "conv_transpose 3x3, 5, stride 2x3, pad (1, 0), output_padding (0, 2)",
           deconv2(6, 5, 3, stride=(2, 3), padding=(1, 0), output_padding=(0, 2)))
    m.case("half", "conv_transpose 5x3, 9, stride 2x1, half", deconv2(6, 9, (5, 3), stride=(2, 1), padding=(2, 1)))
    m.case("same", "conv_transpose 3x4, 5, stride 2x3, same",
           Cropped((slice(0, 18), slice(0, 33)), deconv2(6, 5, (3, 4), stride=(2, 3))))
    m.case("sides", "conv_transpose 4x3, 5, stride 2, pad (1, 0, 2, 1)",
           Cropped((slice(1, None), slice(2, -1)), deconv2(6, 5, (4, 3), stride=2)))
    m.case("dilation", "conv_transpose 3x2, 5, stride 2x3, dilation 3x2, pad 1",
           Cropped((slice(1, -1), slice(1, -1)), deconv2(6, 5, (3, 2), stride=(2, 3), dilation=(3, 2))))
    m.case("gaps", "conv_transpose 1x2, 5, stride 2x3, bias", deconv2(6, 5, (1, 2), stride=(2, 3), bias=True))
    m.case("groups", "conv_transpose 3x3, 9, stride 2, groups 3, bias",
           deconv2(6, 9, 3, stride=2, groups=3, bias=True))
    m.case("groups_wide", "conv_transpose 4x4, 40, stride 2, groups 5, pad 1",
           deconv2(20, 40, 4, stride=2, groups=5, padding=1), "broad")
    m.case("depthwise", "conv_transpose 4x4, 20, stride 2, groups 20, pad 1",
           deconv2(20, 20, 4, stride=2, groups=20, padding=1), "broad")
    m.case("wide", "conv_transpose 2x2, 33, stride 2, bias", deconv2(20, 33, 2, stride=2, bias=True), "broad")
    m.case("normed", "seq { conv_transpose 4x4, 9, stride 2, pad 1 | bn | relu }",
           nn.Sequential(deconv2(6, 9, 4, stride=2, padding=1), nn.BatchNorm2d(9), nn.ReLU()))
    m.case("signal", "conv_transpose 5, 7, stride 3, dilation 2, pad (1, 4), bias",
           Cropped((slice(1, -4),), deconv1(4, 7, 5, stride=3, dilation=2, bias=True)), "sound")
    m.case("volume", "conv_transpose 2x3x3, 4, stride 2x1x2, pad (0, 1, 1), bias",
           deconv3(3, 4, (2, 3, 3), stride=(2, 1, 2), padding=(0, 1, 1), bias=True), "solid")
    m.write()


def depthwise():
    m = Model("depthwise", "Convolutions of each channel by itself, some of which differ in their offsets only.")
    m.case("plain", "conv 3x3, 6, groups 6, half", conv2(6, 6, 3, groups=6, padding=1))
    m.case("multiplied", "conv 3x3, 18, groups 6, stride 2", conv2(6, 18, 3, groups=6, stride=2))
    layer = conv2(20, 20, 5, groups=20, padding=2, bias=True)
    m.case("wide", "conv 5x5, 20, groups 20, half, bias", layer, "broad")
    column = dict(stride=(2, 1), groups=6)
    m.case("half", "conv 5x1, 6, stride 2x1, groups 6, half", conv2(6, 6, (5, 1), padding=(2, 0), **column))
    sides = (0, 0) + same(9, 5, 2)
    m.case("same", "conv 5x1, 6, stride 2x1, groups 6, same", Padded(sides, conv2(6, 6, (5, 1), **column)))
    text, layer = "conv 3x3, 6, stride 2, groups 6, pad ({})", lambda: conv2(6, 6, 3, stride=2, groups=6)
    m.case("pad", text.format("1, 1, 1, 1"), Padded((1, 1, 1, 1), layer()))
    m.case("sides", text.format("2, 0, 1, 1"), Padded((1, 1, 2, 0), layer()))
    m.case("sides_behind", text.format("0, 2, 1, 1"), Padded((1, 1, 0, 2), layer()))
    m.case("sides_across", text.format("1, 1, 2, 0"), Padded((2, 0, 1, 1), layer()))
    m.case("dilation", "conv 3x3, 6, groups 6, dilation 2x1", conv2(6, 6, 3, groups=6, dilation=(2, 1)))
    m.case("dilation_across", "conv 3x3, 6, groups 6, dilation 1x2", conv2(6, 6, 3, groups=6, dilation=(1, 2)))
    m.write()


def dense():
    m = Model("dense", "Fully connected layers.")
    m.case("plain", "dense 5", nn.Linear(13, 5), "flat")
    m.case("no_bias", "dense 17, bias false", nn.Linear(13, 17, bias=False), "flat")
    m.case("long", "dense 40", nn.Linear(13, 40), "flat")
    m.case("one", "dense 1", nn.Linear(13, 1), "flat")
    m.case("position", "seq { flatten | dense 6 }", nn.Sequential(nn.Flatten(), nn.Linear(7, 6)), "ones")
    m.case("flattened", "seq { flatten | dense 9 }", nn.Sequential(nn.Flatten(), nn.Linear(700, 9)), "broad")
    m.case("means", "seq { global_avgpool | dense 9 }",
           Net(lambda m, x: m._modules["1"](x.mean((2, 3))), **{"1": nn.Linear(20, 9)}), "broad")
    m.write()


def maxpool():
    m = Model("maxpool", "Maxima of windows.")
    m.case("plain", "maxpool 2x3", nn.MaxPool2d((2, 3)))
    m.case("stride", "maxpool 3x3, stride 2x1", nn.MaxPool2d(3, (2, 1)))
    m.case("dilation", "maxpool 3x2, stride 2, dilation 2x3", nn.MaxPool2d((3, 2), 2, dilation=(2, 3)))
    m.case("half", "maxpool 5x3, stride 1, half", nn.MaxPool2d((5, 3), 1, padding=(2, 1)))
    m.case("pad", "maxpool 3x3, stride 2, pad 1", nn.MaxPool2d(3, 2, padding=1))
    m.case("sides", "maxpool 3x3, stride 2, pad (1, 0, 0, 1)", Padded((0, 1, 1, 0), nn.MaxPool2d(3, 2), -math.inf))
    sides = same(11, 3, 2) + same(9, 2, 2)
    m.case("same", "maxpool 2x3, stride 2, same", Padded(sides, nn.MaxPool2d((2, 3), 2), -math.inf))
    m.case("ceil", "maxpool 2x2, ceil", nn.MaxPool2d(2, ceil_mode=True))
    m.case("ceil_pad", "maxpool 3x3, stride 3, pad 1, ceil", nn.MaxPool2d(3, 3, padding=1, ceil_mode=True))
    m.case("wide", "maxpool 3x3, stride 2, pad 1", nn.MaxPool2d(3, 2, padding=1), "broad")
    m.case("signal", "maxpool 4, stride 3, ceil", nn.MaxPool1d(4, 3, ceil_mode=True), "sound")
    m.case("volume", "maxpool 2x2x3, stride 1x2x2, pad (0, 1, 1)",
           nn.MaxPool3d((2, 2, 3), (1, 2, 2), padding=(0, 1, 1)), "solid")
    m.write()


def mean_of(kernel, stride, dilation=1, sides=(0, 0, 0, 0), count_pad=True):
    """Average pooling with what PyTorch's has not: dilation, and padding that differs from side to side."""

    def sums(x):
        n, c, h, w = x.shape
        (top, bottom), (left, right) = sides[2:], sides[:2]
        pairs = zip((h + top + bottom, w + left + right), pair(kernel), pair(stride), pair(dilation))
        out = [(size - d * (k - 1) - 1) // s + 1 for size, k, s, d in pairs]
        columns = F.unfold(F.pad(x.reshape(n * c, 1, h, w), sides), kernel, dilation, 0, stride)
        return columns.sum(1).reshape(n, c, *out)

    taps = math.prod(pair(kernel))
    return lambda x: sums(x) / (taps if count_pad else sums(torch.ones_like(x)))


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def avgpool():
    m = Model("avgpool", "Means of windows, with and without the padding.")
    m.case("plain", "avgpool 2x3", nn.AvgPool2d((2, 3)))
    m.case("stride", "avgpool 3x3, stride 2x1", nn.AvgPool2d(3, (2, 1)))
    m.case("dilation", "avgpool 3x2, stride 2, dilation 2x3", mean_of((3, 2), 2, (2, 3)))
    for label, text, count_pad in [("", "", True), ("_inside", ", count_pad false", False)]:
        how = dict(count_include_pad=count_pad)
        m.case("half" + label, "avgpool 5x3, stride 1, half" + text, nn.AvgPool2d((5, 3), 1, (2, 1), **how))
        m.case("pad" + label, "avgpool 3x3, stride 2, pad 1" + text, nn.AvgPool2d(3, 2, 1, **how))
        sides = (0, 1, 1, 0)
        m.case("sides" + label, "avgpool 3x3, stride 2, pad (1, 0, 0, 1)" + text,
               mean_of(3, 2, sides=sides, count_pad=count_pad))
        sides = same(11, 3, 2) + same(9, 2, 2)
        m.case("same" + label, "avgpool 2x3, stride 2, same" + text, mean_of((2, 3), 2, 1, sides, count_pad))
        m.case("ceil" + label, "avgpool 2x2, ceil" + text, nn.AvgPool2d(2, ceil_mode=True, **how))
        m.case("ceil_pad" + label, "avgpool 4x4, stride 3, pad 2, ceil" + text,
               nn.AvgPool2d(4, 3, 2, ceil_mode=True, **how))
        m.case("wide" + label, "avgpool 3x3, stride 2, half" + text, nn.AvgPool2d(3, 2, 1, **how), "broad")
    m.case("signal", "avgpool 4, stride 3, ceil", nn.AvgPool1d(4, 3, ceil_mode=True), "sound")
    m.case("volume", "avgpool 2x2x3, stride 1x2x2, pad (0, 1, 1)",
           nn.AvgPool3d((2, 2, 3), (1, 2, 2), (0, 1, 1)), "solid")
    m.write()


def pools():
    m = Model("pools", "Poolings whose windows follow from the size of the input.")
    m.case("divides", "adaptive_avgpool 3x11", nn.AdaptiveAvgPool2d((3, 11)))
    m.case("overlaps", "adaptive_avgpool 4x3", nn.AdaptiveAvgPool2d((4, 3)))
    m.case("square", "adaptive_avgpool 2", nn.AdaptiveAvgPool2d(2))
    m.case("enlarges", "adaptive_avgpool 10x13", nn.AdaptiveAvgPool2d((10, 13)))
    m.case("wide", "adaptive_avgpool 2x3", nn.AdaptiveAvgPool2d((2, 3)), "broad")
    m.case("signal", "adaptive_avgpool 5", nn.AdaptiveAvgPool1d(5), "sound")
    m.case("volume", "adaptive_avgpool 2x3x4", nn.AdaptiveAvgPool3d((2, 3, 4)), "solid")
    for label, name, reduce in [("mean", "global_avgpool", torch.mean), ("max", "global_maxpool", torch.amax)]:
        for of, dims in [("image", (2, 3)), ("broad", (2, 3)), ("sound", (2,)), ("solid", (2, 3, 4))]:
            m.case(f"{label}_{of}", name, lambda x: reduce(x, dims, keepdim=True), of)
    m.write()


def over_dims(what, dims):
    """A function over one dimension as one over several at the end, or over a single one."""
    if len(dims) == 1:
        return lambda x: what(x, dim=dims[0])
    return lambda x: what(x.flatten(dims[0]), dim=dims[0]).reshape(x.shape)


class LineNorm(nn.LayerNorm):
    """A LayerNorm over one dimension, which PyTorch's has last."""

    def __init__(self, size, dim, **options):
        super().__init__(size, **options)
        self.dim = dim

    def forward(self, x):
        return super().forward(x.movedim(self.dim, -1)).movedim(-1, self.dim)


class ChannelNorm(nn.LayerNorm):
    """A LayerNorm over the channels, which PyTorch's has last."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def normalisations():
    m = Model("normalisations", "Batch norms, local response normalisation and softmax.")
    m.case("bn_image", "bn", nn.BatchNorm2d(6))
    m.case("bn_wide", "bn", nn.BatchNorm2d(20), "broad")
    m.case("bn_eps", "bn eps 0.5", nn.BatchNorm2d(6, eps=0.5))
    m.case("bn_signal", "bn eps 1e-3", nn.BatchNorm1d(4, eps=1e-3), "sound")
    m.case("bn_volume", "bn", nn.BatchNorm3d(3), "solid")
    m.case("bn_flat", "bn", nn.BatchNorm1d(13), "flat")
    m.case("bn_plain", "bn eps 0.1, affine false", nn.BatchNorm2d(6, eps=0.1, affine=False))
    m.case("scale_image", "scale", Scale(6))
    m.case("scale_wide", "scale bias", Scale(20, bias=True), "broad")
    m.case("scale_flat", "scale bias", Scale(13, bias=True), "flat")
    m.case("prelu_image", "prelu", nn.PReLU(6))
    m.case("prelu_wide", "prelu", nn.PReLU(20), "broad")
    m.case("prelu_flat", "prelu", nn.PReLU(13), "flat")
    m.case("prelu_shared", "prelu shared", nn.PReLU())
    for of, channels in [("image", 6), ("broad", 20), ("sound", 4), ("solid", 3), ("flat", 13)]:
        m.case(f"layer_{of}", "layer_norm eps 1e-6", ChannelNorm(channels, eps=1e-6), of)
    m.case("layer_plain", "layer_norm affine false", ChannelNorm(20, elementwise_affine=False), "broad")
    for over, shape in [("width", (6,)), ("positions", (4, 5, 6)), ("all", (3, 4, 5, 6))]:
        m.case(f"layer_{over}", f"layer_norm over {over}", nn.LayerNorm(shape), "solid")
    m.case("layer_lines", "layer_norm over width, eps 1e-2", nn.LayerNorm(11, eps=1e-2))
    m.case("layer_maps", "layer_norm over all, affine false", nn.LayerNorm((20, 5, 7), elementwise_affine=False), "broad")
    m.case("layer_columns", "layer_norm over height", LineNorm(9, -2))
    m.case("layer_depth", "layer_norm over depth, eps 1e-3", LineNorm(4, -3, eps=1e-3), "solid")
    for groups in [1, 2, 5, 10, 20]:
        m.case(f"group_{groups}", f"group_norm {groups}", nn.GroupNorm(groups, 20), "broad")
    m.case("group_image", "group_norm 2, eps 1e-2", nn.GroupNorm(2, 6, eps=1e-2))
    m.case("group_signal", "group_norm 2, affine false", nn.GroupNorm(2, 4, affine=False), "sound")
    m.case("group_volume", "group_norm 3", nn.GroupNorm(3, 3), "solid")
    m.case("group_flat", "group_norm 1", nn.GroupNorm(1, 13), "flat")
    for p in [1, 2]:
        for of in ["image", "broad", "flat"]:
            m.case(f"l{p}_{of}", f"l{p}_norm over channels", lambda x, p=p: F.normalize(x, p=p), of)
        for over, dim in [("width", -1), ("height", -2), ("depth", -3)]:
            m.case(f"l{p}_{over}", f"l{p}_norm over {over}", lambda x, p=p, dim=dim: F.normalize(x, p=p, dim=dim), "solid")
        m.case(f"l{p}_positions", f"l{p}_norm over positions, eps 9", lambda x, p=p: F.normalize(x.flatten(2), p=p, dim=2, eps=9)
               .reshape(x.shape), "broad")
        m.case(f"l{p}_all", f"l{p}_norm over all", lambda x, p=p: F.normalize(x.flatten(1), p=p).reshape(x.shape))
    m.case("instance_image", "instance_norm affine", nn.InstanceNorm2d(6, affine=True))
    m.case("instance_wide", "instance_norm eps 1e-2", nn.InstanceNorm2d(20, eps=1e-2), "broad")
    m.case("instance_signal", "instance_norm", nn.InstanceNorm1d(4), "sound")
    m.case("instance_volume", "instance_norm affine", nn.InstanceNorm3d(3, affine=True), "solid")
    m.case("lrn_plain", "lrn 5", nn.LocalResponseNorm(5))
    m.case("lrn_paper", "lrn 5, alpha 0.3, k 2", nn.LocalResponseNorm(5, alpha=0.3, k=2.0))
    m.case("lrn_even", "lrn 4, alpha 0.3, beta 0.5", nn.LocalResponseNorm(4, alpha=0.3, beta=0.5))
    m.case("lrn_back", "lrn 4, alpha 0.3, longer back",
           lambda x: nn.LocalResponseNorm(4, alpha=0.3)(x.flip(1)).flip(1))
    m.case("lrn_one", "lrn 1, alpha 0.3, beta 1.25", nn.LocalResponseNorm(1, alpha=0.3, beta=1.25))
    m.case("lrn_all", "lrn 15, alpha 0.3", nn.LocalResponseNorm(15, alpha=0.3))
    m.case("lrn_wide", "lrn 3, alpha 0.3, k 0.5", nn.LocalResponseNorm(3, alpha=0.3, k=0.5), "broad")
    m.input("hot", 30 * torch.randn(2, 9, 3, 5))
    softmax = nn.Softmax(1)
    for of in ["image", "broad", "sound", "flat", "hot"]:
        m.case(f"softmax_{of}", "softmax", softmax, of)
    for over, dims in [("width", (-1,)), ("height", (-2,)), ("depth", (-3,)), ("positions", (2, 3, 4)), ("all", (1, 2, 3, 4))]:
        for log, of_log in [("", F.softmax), ("log_", F.log_softmax)]:
            m.case(f"{log}softmax_{over}", f"{log}softmax over {over}", over_dims(of_log, dims), "solid")
    m.case("softmax_signal", "softmax over positions", nn.Softmax(2), "sound")
    m.case("softmax_lines", "softmax over width", nn.Softmax(3), "hot")
    m.case("softmax_columns", "softmax over height", nn.Softmax(2))
    for of in ["broad", "flat", "hot"]:
        m.case(f"log_softmax_{of}", "log_softmax over channels", nn.LogSoftmax(1), of)
    m.write()


def activations():
    """One channel for each part of the range, since each channel is compared by itself: near 0, the tails, tiny."""
    ranges = [(-1, 1), (-3, -1), (-6, -3), (-12, -6), (-80, -12), (1, 6), (6, 90), (-1e-4, 1e-4)]
    values = torch.stack([torch.linspace(*ends, 2 * 23, dtype=torch.float64) for ends in ranges])
    m = Model("activations", "Functions of single values.")
    m.input("values", values.reshape(len(ranges), 2, 23).transpose(0, 1))
    m.case("relu", "relu", F.relu, "values")
    m.case("relu6", "relu6", F.relu6, "values")
    m.case("leaky_relu", "leaky_relu", F.leaky_relu, "values")
    m.case("slope", "leaky_relu slope 0.2", lambda x: F.leaky_relu(x, 0.2), "values")
    m.case("steep", "leaky_relu slope 1.5", lambda x: F.leaky_relu(x, 1.5), "values")
    m.case("thresholded", "thresholded_relu", nn.Threshold(1, 0), "values")
    m.case("threshold", "thresholded_relu alpha = -2.5", nn.Threshold(-2.5, 0), "values")
    m.case("elu", "elu", F.elu, "values")
    m.case("elu_alpha", "elu alpha = -0.7", lambda x: F.elu(x, -0.7), "values")
    m.case("selu", "selu", F.selu, "values")
    m.case("celu", "celu", F.celu, "values")
    m.case("celu_alpha", "celu alpha 3.5", lambda x: F.celu(x, 3.5), "values")
    m.case("mish", "mish", F.mish, "values")
    # F.softplus itself adds 1 to an exp that is small, and gives x from 20 on.
    m.case("softplus", "softplus", lambda x: torch.logaddexp(x, torch.zeros_like(x)), "values")
    m.case("softsign", "softsign", F.softsign, "values")
    m.case("clip", "clip -1.5, 3", lambda x: x.clamp(-1.5, 3), "values")
    m.case("clip_low", "clip low = -20", lambda x: x.clamp(min=-20), "values")
    m.case("clip_high", "clip high 0.5", lambda x: x.clamp(max=0.5), "values")
    m.case("affine", "affine -1.5, 0.25", lambda x: -1.5 * x + 0.25, "values")
    m.case("affine_shift", "affine 1, shift = -100", lambda x: x - 100, "values")
    m.case("exp", "exp", torch.exp, "values")
    m.case("sqrt", "seq { abs | sqrt }", lambda x: x.abs().sqrt(), "values")
    m.case("abs", "abs", torch.abs, "values")
    m.case("reciprocal", "reciprocal", torch.reciprocal, "values")
    m.case("tanh", "tanh", torch.tanh, "values")
    m.case("sigmoid", "sigmoid", torch.sigmoid, "values")
    m.case("silu", "silu", F.silu, "values")
    m.case("hard_swish", "hard_swish", F.hardswish, "values")
    m.case("hard_sigmoid", "hard_sigmoid", F.hardsigmoid, "values")
    line = lambda x: (0.2 * x + 0.5).clamp(0, 1)
    m.case("hard_sigmoid_slope", "hard_sigmoid slope 0.2", line, "values")
    line = lambda x: (0.75 * x - 0.125).clamp(0, 1)
    m.case("hard_sigmoid_offset", "hard_sigmoid slope 0.75, offset = -0.125", line, "values")
    # F.gelu itself adds 1 to an erf near -1, which leaves nothing of the tail in f64 either.
    m.case("gelu", "gelu", lambda x: x * torch.special.erfc(-x / math.sqrt(2)) / 2, "values")
    m.case("gelu_exact", "gelu approximate none", lambda x: x * torch.special.erfc(-x / math.sqrt(2)) / 2, "values")
    # 1 + tanh(y) = 2 sigmoid(2 y), for the same reason.
    twice = lambda x: 2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    m.case("gelu_tanh", "gelu approximate tanh", lambda x: x * torch.sigmoid(twice(x)), "values")
    m.write()


def to_space(x, block, order):
    """ONNX's DepthToSpace in any number of dimensions."""
    n, c, *sizes = x.shape
    rank, c = len(sizes), c // math.prod(block)
    split = x.reshape(n, *((c, *block) if order == "crd" else (*block, c)), *sizes)
    places = [(2 if order == "crd" else 1) + d for d in range(rank)]
    pairs = [dim for d in range(rank) for dim in (2 + rank + d, places[d])]
    moved = split.permute(0, 1 if order == "crd" else 1 + rank, *pairs)
    return moved.reshape(n, c, *(size * b for size, b in zip(sizes, block)))


def to_depth(x, block, order):
    """The other way, as ONNX's SpaceToDepth, whose order is `dcr`."""
    n, c, *sizes = x.shape
    rank = len(sizes)
    split = x.reshape(n, c, *(n for size, b in zip(sizes, block) for n in (size // b, b)))
    outer, inner = [2 + 2 * d for d in range(rank)], [3 + 2 * d for d in range(rank)]
    moved = split.permute(0, *([1, *inner] if order == "crd" else [*inner, 1]), *outer)
    return moved.reshape(n, c * math.prod(block), *(size // b for size, b in zip(sizes, block)))


def rearranged():
    m = Model("rearranged", "Layers that move values, or do nothing at all.")
    m.case("pad_all", "pad 1", nn.ConstantPad2d(1, 0))
    m.case("pad_dims", "pad (1, 2)", nn.ConstantPad2d((2, 2, 1, 1), 0))
    m.case("pad_sides", "pad sides (0, 1, 2, 0)", nn.ConstantPad2d((2, 0, 0, 1), 0))
    m.case("pad_channels", "pad channels (2, 3)", lambda x: F.pad(x, (0, 0, 0, 0, 2, 3)))
    m.case("pad_both", "pad sides (1, 0, 0, 2), channels 1", lambda x: F.pad(x, (0, 2, 1, 0, 1, 1)))
    m.case("pad_signal", "pad (3, 1)", nn.ConstantPad1d((3, 1), 0), "sound")
    m.case("pad_volume", "pad (0, 1, 1, 0, 2, 0)", nn.ConstantPad3d((2, 0, 1, 0, 0, 1), 0), "solid")
    m.case("pad_value", "pad sides (1, 0, 0, 2), value 0.5", lambda x: F.pad(x, (0, 2, 1, 0), value=0.5))
    m.case("pad_reflect", "pad sides (1, 3, 2, 0), mode reflect", lambda x: F.pad(x, (2, 0, 1, 3), mode="reflect"))
    m.case("pad_edge", "pad sides (1, 3, 2, 0), mode edge", lambda x: F.pad(x, (2, 0, 1, 3), mode="replicate"), "broad")
    m.case("pad_reflect_signal", "pad 5, mode reflect", nn.ReflectionPad1d(5), "sound")
    m.case("pad_edge_volume", "pad (1, 0, 2), mode edge", nn.ReplicationPad3d((2, 2, 0, 0, 1, 1)), "solid")
    m.case("crop", "crop (0, 1, 2, 3)", lambda x: F.pad(x, (-2, -3, 0, -1)))
    m.case("crop_all", "crop sides 1", lambda x: x[:, :, 1:-1, 1:-1, 1:-1], "solid")
    m.case("nearest", "upsample 2x3", nn.Upsample(scale_factor=(2, 3)), "broad")
    m.case("nearest_signal", "upsample 3, mode nearest", nn.Upsample(scale_factor=3), "sound")
    m.case("nearest_volume", "upsample 1x2x1", nn.Upsample(scale_factor=(1, 2, 1)), "solid")
    linear = [("broad", "bilinear", (2, 1)), ("sound", "linear", (3,)), ("solid", "trilinear", (2, 1, 2))]
    for of, mode, scale in linear:
        text = "x".join(map(str, scale))
        for suffix, align in [("", False), (", align_corners", True)]:
            how = nn.Upsample(scale_factor=tuple(map(float, scale)), mode=mode, align_corners=align)
            m.case(mode + "_corners" * align, f"upsample {text}, mode bilinear{suffix}", how, of)
    m.case("shuffle", "channel_shuffle 3", nn.ChannelShuffle(3))
    m.case("shuffle_wide", "channel_shuffle 4", nn.ChannelShuffle(4), "broad")
    m.case("slice_front", "slice 0..4", lambda x: x[:, :4])
    m.case("slice_wide", "slice 8..20", lambda x: x[:, 8:], "broad")
    m.case("slice_flat", "slice 3..11", lambda x: x[:, 3:11], "flat")
    for label, order in [("", "crd"), ("_blocks", "dcr")]:
        m.case("shuffled" + label, f"depth_to_space 2x1, order {order}", lambda x: to_space(x, (2, 1), order))
        m.case("shuffled_wide" + label, f"depth_to_space 2, order {order}", lambda x: to_space(x, (2, 2), order), "broad")
        m.case("unshuffled" + label, f"space_to_depth 3x11, order {order}", lambda x: to_depth(x, (3, 11), order))
        m.case("unshuffled_volume" + label, f"space_to_depth 2x1x3, order {order}",
               lambda x: to_depth(x, (2, 1, 3), order), "solid")
    m.input("tiles", torch.randn(2, 18, 4, 6))
    m.case("pixel_shuffle", "depth_to_space 3", nn.PixelShuffle(3), "tiles")
    m.case("pixel_unshuffle", "space_to_depth 2", nn.PixelUnshuffle(2), "tiles")
    m.case("sampled", "subsample 2x3", lambda x: x[:, :, ::2, ::3])
    m.case("sampled_at", "subsample 2, at (1, 0)", lambda x: x[:, :, 1::2, ::2], "broad")
    m.case("sampled_volume", "subsample 2, at 1", lambda x: x[:, :, 1::2, 1::2, 1::2], "solid")
    m.case("sampled_signal", "subsample 5, at 3", lambda x: x[:, :, 3::5], "sound")
    focus = "subsample 2\n    subsample 2, at (1, 0)\n    subsample 2, at (0, 1)\n    subsample 2, at 1"
    m.case("focus", f"concat {{ {focus} }}", lambda x: torch.cat(
        [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1), "tiles")
    m.input("features", torch.randn(2, 36))
    m.case("unflatten", "unflatten 2x3", nn.Unflatten(1, (6, 2, 3)), "features")
    m.case("unflatten_signal", "unflatten 9", nn.Unflatten(1, (4, 9)), "features")
    m.case("flatten_image", "flatten", nn.Flatten())
    m.case("flatten_volume", "flatten", nn.Flatten(), "solid")
    m.case("flatten_ones", "flatten", nn.Flatten(), "ones")
    m.case("dropout", "dropout p 0.2", nn.Dropout(0.2).eval())
    m.case("identity", "identity", nn.Identity())
    for order in ((1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 1, 2), (3, 2, 1)):
        digits = "".join(map(str, order))
        for of in ("image", "broad"):
            m.case(f"permute_{digits}_{of}", f"permute {order}", lambda x: x.permute(0, *order), of)
    m.case("permute_sound", "permute (2, 1)", lambda x: x.transpose(1, 2), "sound")
    m.case("permute_solid", "permute (3, 4, 1, 2)", lambda x: x.permute(0, 3, 4, 1, 2), "solid")
    m.case("permute_twice", "permute (1, 2, 4, 3)", lambda x: x.transpose(3, 4), "solid")
    m.write()


def resized():
    m = Model("resized", "Other sizes: by PyTorch where it has words for it, else by the formulas of ONNX's Resize.")
    sizes = [("image", (14, 5)), ("broad", (3, 11)), ("sound", (31,)), ("solid", (7, 2, 9))]
    for of, size in sizes:
        text = "x".join(map(str, size))
        modes = {1: "linear", 2: "bilinear", 3: "trilinear"}
        for align, coordinates in [(False, "half_pixel"), (True, "align_corners")]:
            how = nn.Upsample(size, mode=modes[len(size)], align_corners=align)
            m.case(f"{of}_{coordinates}", f"resize {text}, bilinear, coordinates {coordinates}", how, of)
            if len(size) == 2:
                how = nn.Upsample(size, mode="bicubic", align_corners=align)
                m.case(f"{of}_cubic_{coordinates}", f"resize {text}, mode bicubic, coordinates {coordinates}", how, of)
        m.case(f"{of}_nearest", f"resize {text}, rounding floor, coordinates asymmetric", nn.Upsample(size), of)
        m.case(f"{of}_exact", f"resize size {text}, rounding prefer_ceil",
               lambda x: F.interpolate(x, size, mode="nearest-exact"), of)
    m.case("factor", "resize scale 1.7, bilinear",
           lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"))
    m.case("factors", "resize scale (0.6, 2.3), mode bicubic",
           lambda x: F.interpolate(x, scale_factor=(0.6, 2.3), mode="bicubic"))
    for coordinates in ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]:
        for rounding in ["floor", "ceil", "prefer_floor", "prefer_ceil"]:
            m.case(f"nearest_{coordinates}_{rounding}",
                   f"resize scale (0.6, 1.4), rounding {rounding}, coordinates {coordinates}",
                   interpolated((0.6, 1.4), coordinates, rounding=rounding))
        m.case(f"linear_{coordinates}", f"resize scale (1.3, 0.1), bilinear, coordinates {coordinates}",
               interpolated((1.3, 0.1), coordinates))
        m.case(f"cubic_{coordinates}",
               f"resize scale (1.3, 0.4), bicubic, coordinates {coordinates}, coefficient 0.5",
               interpolated((1.3, 0.4), coordinates, coefficient=-0.5))
    m.write()


def interpolated(scales, coordinates, rounding=None, coefficient=None):
    """ONNX's Resize: a matrix for each spatial dimension. Linear without rounding and coefficient."""

    def place(i, size, out, scale):
        if coordinates == "asymmetric":
            return i / scale
        if coordinates in ("align_corners", "pytorch_half_pixel") and out == 1:
            return 0.0
        if coordinates == "align_corners":
            return i * (size - 1) / (out - 1)
        middle = size / 2 * (1 - out / (scale * size)) if coordinates == "half_pixel_symmetric" else 0.0
        return middle + (i + 0.5) / scale - 0.5

    def weight(distance):
        if rounding:
            return float(distance == 0)
        if coefficient is None:
            return max(0.0, 1 - abs(distance))
        a, d = coefficient, abs(distance)
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0

    round_to = {"floor": math.floor, "ceil": math.ceil, "prefer_floor": lambda at: math.ceil(at - 0.5),
                "prefer_ceil": lambda at: math.floor(at + 0.5), None: lambda at: at}[rounding]

    def matrix(size, scale):
        out = math.floor(size * scale)
        rows = torch.zeros(out, size, dtype=torch.float64)
        for i in range(out):
            at = round_to(place(i, size, out, scale))
            for near in range(math.floor(at) - 2, math.floor(at) + 4):
                rows[i, min(max(near, 0), size - 1)] += weight(at - near)
        return rows

    def resize(x):
        down, across = (matrix(size, scale) for size, scale in zip(x.shape[2:], scales))
        return down @ x @ across.T

    return resize


def reductions():
    m = Model("reductions", "One number of all channels, or of all positions.")
    functions = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax, "min": torch.amin}
    for how, function in functions.items():
        for of in ("image", "broad", "sound", "solid", "flat"):
            m.case(f"{how}_{of}", f"reduce {how}", lambda x: function(x, 1, keepdim=True), of)
        positions = lambda x: function(x, tuple(range(2, x.dim())), keepdim=True)
        m.case(f"{how}_positions", f"reduce {how}, over positions", positions)
        m.case(f"{how}_steps", f"reduce {how}, over positions", positions, "sound")
    norm = lambda p, *window, **options: lambda x: F.lp_pool2d(x.abs(), p, *window, **options)
    for p in range(1, 7):
        m.case(f"norm{p}", f"lp_pool 3x3, stride 2, p {p}", norm(p, 3, 2))
    m.case("norm_broad", "lp_pool 2x3", norm(2, (2, 3)), "broad")
    m.case("norm_ceil", "lp_pool 2x2, stride 2, ceil, p 3", lambda x: F.lp_pool2d(F.pad(x.abs(), [0, 1, 0, 1]), 3, 2))
    m.case("norm_padded", "lp_pool 3x3, stride 1, pad 1", lambda x: F.lp_pool2d(F.pad(x.abs(), [1] * 4), 2, 3, 1))
    m.case("norm_gaps", "lp_pool 3x3, stride 1, dilation 2, p 4",
           lambda x: F.unfold(x, 3, dilation=2).view(2, 6, 9, 5, 7).abs().pow(4).sum(2).pow(0.25))
    m.case("norm_sound", "lp_pool 4, stride 3, p 3", lambda x: F.lp_pool1d(x.abs(), 3, 4, 3), "sound")
    m.case("adaptive_image", "adaptive_maxpool 4x3", nn.AdaptiveMaxPool2d((4, 3)))
    m.case("adaptive_equal", "adaptive_maxpool 3x11", nn.AdaptiveMaxPool2d((3, 11)))
    m.case("adaptive_larger", "adaptive_maxpool 12", nn.AdaptiveMaxPool2d(12))
    m.case("adaptive_sound", "adaptive_maxpool 5", nn.AdaptiveMaxPool1d(5), "sound")
    m.case("adaptive_solid", "adaptive_maxpool 3x2x4", nn.AdaptiveMaxPool3d((3, 2, 4)), "solid")
    both = lambda x: torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
    m.case("attention", "gate { concat { reduce mean\n    reduce max } | conv1: conv 7x7, 1, half | sigmoid }",
           Net(lambda m, x: x * torch.sigmoid(m.conv1(both(x))), conv1=conv2(2, 1, 7, padding=3)))
    m.write()


def combinations():
    m = Model("combinations", "Sums, products and concatenations, and layers that one kernel does together.")
    half = lambda channels: conv2(6, channels, 3, padding=1)
    m.case("sum", "residual { conv1: conv 3x3, 6, half }", Net(lambda m, x: x + m.conv1(x), conv1=half(6)))
    m.case("projected", "residual { conv1: conv 3x3, 9, half } project { conv2: conv 1x1, 9 }",
           Net(lambda m, x: m.conv1(x) + m.conv2(x), conv1=half(9), conv2=conv2(6, 9, 1)))
    m.case("joined", "concat { a: conv 3x3, 5, half\n    identity\n    b: conv 1x1, 3 }",
           Net(lambda m, x: torch.cat([m.a(x), x, m.b(x)], 1), a=half(5), b=conv2(6, 3, 1)))
    m.case("grown", "grow { conv1: conv 3x3, 5, half }", Net(lambda m, x: torch.cat([x, m.conv1(x)], 1), conv1=half(5)))
    m.case("gated", "gate { conv1: conv 3x3, 6, half | sigmoid }",
           Net(lambda m, x: x * torch.sigmoid(m.conv1(x)), conv1=half(6)))
    squeeze = "gate { global_avgpool | fc1: conv 1x1, 3, bias | relu | fc2: conv 1x1, 6, bias | hard_sigmoid }"
    m.case("squeezed", squeeze, Net(
        lambda m, x: x * F.hardsigmoid(m.fc2(F.relu(m.fc1(x.mean((2, 3), keepdim=True))))),
        fc1=conv2(6, 3, 1, bias=True), fc2=conv2(3, 6, 1, bias=True)))
    block = "seq { residual { conv1: conv 3x3, 6, half | bn1: bn | relu | conv2: conv 3x3, 6, half | bn2: bn } | relu }"
    basic = Net(lambda m, x: F.relu(x + m.bn2(m.conv2(F.relu(m.bn1(m.conv1(x)))))),
                conv1=half(6), bn1=nn.BatchNorm2d(6), conv2=half(6), bn2=nn.BatchNorm2d(6))
    m.case("basic", block, Net(lambda m, x: m._modules["0"](x), **{"0": basic}))
    block = "seq {{ conv 1x1, 18 | {0} | conv 5x5, 18, stride 2, groups 18, half | {0} | conv 1x1, 7 | bn }}"
    m.case("inverted", block.format("bn | silu"),
           nn.Sequential(conv2(6, 18, 1), nn.BatchNorm2d(18), nn.SiLU(),
                         conv2(18, 18, 5, stride=2, groups=18, padding=2), nn.BatchNorm2d(18), nn.SiLU(),
                         conv2(18, 7, 1), nn.BatchNorm2d(7)))
    text = "seq { conv 3x3, 10, half | affine 0.5, -0.25 | bn affine false | scale | relu | scale bias | affine 2 }"
    norm = nn.BatchNorm2d(10, affine=False)
    layers = dict(enumerate([conv2(6, 10, 3, padding=1), None, norm, Scale(10), None, Scale(10, bias=True)]))
    layers = {str(key): layer for key, layer in layers.items() if layer is not None}
    m.case("scaled", text, Net(
        lambda m, x: 2 * m._modules["5"](F.relu(m._modules["3"](m._modules["2"](0.5 * m._modules["0"](x) - 0.25)))),
        **layers))
    m.case("normalised_twice", "seq { bn | scale bias | prelu | conv 1x1, 7 | prelu shared }",
           nn.Sequential(nn.BatchNorm2d(6), Scale(6, bias=True), nn.PReLU(6), conv2(6, 7, 1), nn.PReLU()))
    m.case("pooled", "seq { conv 3x3, 10, half, bias | relu | maxpool 3x3, stride 2, pad 1 }",
           nn.Sequential(conv2(6, 10, 3, padding=1, bias=True), nn.ReLU(), nn.MaxPool2d(3, 2, 1)))
    m.case("behind", "seq { conv 1x1, 8 | conv 3x3, 8, groups 8, stride 2, half | maxpool 2x2 }",
           nn.Sequential(conv2(6, 8, 1), conv2(8, 8, 3, groups=8, stride=2, padding=1), nn.MaxPool2d(2)))
    m.case("preactivated", "seq { bn | relu | conv 1x1, 7 | bn eps 1e-3 | gelu | avgpool 2x2 }",
           nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(), conv2(6, 7, 1), nn.BatchNorm2d(7, eps=1e-3), nn.GELU(),
                         nn.AvgPool2d(2)))
    block = "conv 1x1, 12, groups 3 | channel_shuffle 3 | conv 3x3, 12, groups 12, half | leaky_relu slope 0.1"
    m.case("shuffled", f"seq {{ {block} }}",
           nn.Sequential(conv2(6, 12, 1, groups=3), nn.ChannelShuffle(3),
                         conv2(12, 12, 3, groups=12, padding=1), nn.LeakyReLU(0.1)))
    halves = "slice 0..8\n    { slice 8..16 | work: conv 3x3, 8, half | relu }"

    def split(m, x):
        a, b = m.first(x).chunk(2, 1)
        return F.channel_shuffle(torch.cat([a, F.relu(m.work(b))], 1), 2)

    m.case("split", f"{{ first: conv 1x1, 16 | concat {{ {halves} }} | channel_shuffle 2 }}",
           Net(split, first=conv2(6, 16, 1), work=conv2(8, 8, 3, padding=1)))
    block = "conv 3x3, 8, stride 2 | tanh | flatten | dense 11 | relu | dropout | dense 5 | softmax"
    m.case("classified", f"seq {{ {block} }}",
           nn.Sequential(conv2(6, 8, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(160, 11), nn.ReLU(),
                         nn.Dropout().eval(), nn.Linear(11, 5), nn.Softmax(1)))
    attention = "gate { conv1: conv 7x7, 1, half | sigmoid }"
    m.case("attention", attention, Net(lambda m, x: x * torch.sigmoid(m.conv1(x)), conv1=conv2(6, 1, 7, padding=3)))
    m.case("one_factor", "mul { conv1: conv 9x11, 1\n    identity }",
           Net(lambda m, x: m.conv1(x) * x, conv1=conv2(6, 1, (9, 11))))
    m.case("context", "add { identity\n    global_avgpool | conv1: conv 1x1, 6 | relu\n    conv2: conv 3x3, 1, half }",
           Net(lambda m, x: x + F.relu(m.conv1(x.mean((2, 3), keepdim=True))) + m.conv2(x),
               conv1=conv2(6, 6, 1), conv2=conv2(6, 1, 3, padding=1)))
    m.write()


def unbiased(layer):
    return lambda *sizes, bias=False, **how: layer(*sizes, bias=bias, **how)


conv1, conv2, conv3 = map(unbiased, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
deconv1, deconv2, deconv3 = map(unbiased, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for model in (conv, conv_transpose, depthwise, dense, maxpool, avgpool, pools, normalisations, activations, rearranged, resized,
                  combinations, reductions):
        model()
