#!/usr/bin/env python3
"""Writes the references that tests/integers.rs compares with, bit for bit: networks on whole numbers.

    python tests/pytorch/integers.py

Run by hand, when there is a new layer on whole numbers: it needs torch, numpy and safetensors. It writes three files into
tests/pytorch/integers/: the model, its weight file, and inputs with the outputs that belong to them. Sums are PyTorch's,
of whole numbers in f64, which holds them exactly; all else is arithmetic of single elements in numpy's float32 and float64.
"""

import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

FOLDER = pathlib.Path(__file__).resolve().parent / "integers"
RANDOM = np.random.default_rng(14)
F32, F64 = np.float32, np.float64


class Numbers:
    """What whole numbers stand for: (q - zero) * scale."""

    def __init__(self, scale, zero):
        self.scale, self.zero = F32(scale), zero

    def limit(self, x):
        return int(self.of(np.array([x], F32))[0])

    def of(self, x):
        steps = np.rint(np.clip(x / self.scale, F32(-self.zero), F32(255 - self.zero)))
        return steps.astype(np.int64) + self.zero

    def real(self, q):
        return (q - self.zero).astype(F32) * self.scale


class Whole:
    """A value in whole numbers."""

    def __init__(self, q, numbers):
        self.q, self.numbers = q, numbers

    def steps(self):
        return self.q - self.numbers.zero


class Case:
    def __init__(self, label):
        self.label, self.tensors = label, {}

    def reads(self, name, numbers):
        """Says of the value that a layer reads what it stands for."""
        self.says(f"{name}.input", numbers)

    def says(self, key, numbers):
        self.tensors[f"{self.label}.{key}_scale"] = np.array([numbers.scale], F32)
        self.tensors[f"{self.label}.{key}_zero_point"] = np.array([numbers.zero], np.uint8)

    def sums(self, name, x, channels, kernel, bias=False, **how):
        """The sums of a convolution with new weights, or of a dense layer where there is no kernel; and its scales."""
        self.reads(name, x.numbers)
        groups = how.get("groups", 1)
        shape = (channels, x.q.shape[1] // groups, *kernel)
        w = np.clip(np.rint(RANDOM.normal(0, 50, shape)), -127, 127)
        scales = F32(RANDOM.uniform(0.5, 2, channels) / 400)
        self.tensors[f"{self.label}.{name}.weight"] = w.astype(np.int8)
        self.tensors[f"{self.label}.{name}.weight_scale"] = scales
        b = np.zeros(channels)
        if bias:
            b = np.rint(RANDOM.normal(0, 3000, channels))
            self.tensors[f"{self.label}.{name}.bias"] = b.astype(np.int32)
        tensors = [torch.tensor(array, dtype=torch.float64) for array in (x.steps(), w, b)]
        if kernel:
            sums = [None, F.conv1d, F.conv2d, F.conv3d][len(kernel)](*tensors, **how)
        else:
            sums = F.linear(*tensors)
        return sums.numpy().astype(np.int64), scales

    def product(self, name, x, *args, to=None, limits=(None, None), plus=None, **how):
        """A layer with weights: in f32, or of the numbers `to`, or of some that fit."""
        sums, scales = self.sums(name, x, *args, **how)
        along = (1, -1) + (1,) * (sums.ndim - 2)
        if to == "real":
            return sums.astype(F32) * F32(F64(x.numbers.scale) * scales.astype(F64)).reshape(along)
        to = to or fitting(sums * (x.numbers.scale * scales).reshape(along))
        m = F32(F64(x.numbers.scale) * scales.astype(F64) / F64(to.scale)).reshape(along)
        y = sums.astype(F32) * m
        if plus is not None:
            y = y + plus.steps().astype(F32) * F32(F64(plus.numbers.scale) / F64(to.scale))
        return rounded(y, to, limits)


def fitting(values):
    low, high = min(values.min(), 0), max(values.max(), 0)
    # Too narrow by a tenth, so that something is cut off.
    scale = F32((high - low) * 0.9 / 255)
    return Numbers(scale, int(np.clip(np.rint(-low / scale), 0, 255)))


def rounded(y, to, limits=(None, None)):
    assert y.dtype == F32
    low = 0 if limits[0] is None else to.limit(limits[0])
    high = 255 if limits[1] is None else to.limit(limits[1])
    return Whole(np.clip(np.rint(y).astype(np.int64) + to.zero, low, high), to)


def total(a, b, to, limits=(None, None)):
    m = [F32(F64(x.numbers.scale) / F64(to.scale)) for x in (a, b)]
    return rounded(a.steps().astype(F32) * m[0] + b.steps().astype(F32) * m[1], to, limits)


def table(x, function, to):
    values = (np.arange(256) - x.numbers.zero) * F64(x.numbers.scale)
    entries = np.clip(np.rint(function(values) / F64(to.scale)) + to.zero, 0, 255).astype(np.int64)
    return Whole(entries[x.q], to)


def mean(x, to, window=None, count_pad=True):
    """Over everything, or over windows of (kernel, stride, padding)."""
    steps = torch.tensor(x.steps(), dtype=torch.float64)
    if window is None:
        sums, counts = steps.flatten(2).sum(2).reshape(*steps.shape[:2], 1, 1), np.array(steps[0, 0].numel())
    else:
        size, stride, pad = window
        ones = torch.ones(1, 1, *steps.shape[2:], dtype=torch.float64)
        area = lambda x: F.avg_pool2d(x, size, stride, pad, divisor_override=1)
        sums = area(steps)
        counts = np.rint(area(ones).numpy()) if not count_pad else np.array(size * size)
    m = F32(F64(x.numbers.scale) / (F64(to.scale) * counts.astype(F64)))
    return rounded(np.rint(sums.numpy()).astype(F32) * m, to)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


RELU = (0, None)


def main():
    inputs = {
        "image": RANDOM.normal(0, 1, (2, 6, 9, 11)).astype(F32),
        "sound": RANDOM.normal(0, 1, (2, 4, 23)).astype(F32),
        "solid": RANDOM.normal(0, 1, (2, 3, 4, 5, 6)).astype(F32),
    }
    lines, tensors, outputs = [], {}, {}

    def add(of, case, text, y):
        assert y.dtype == F32
        lines.append(f"  from {of} | {case.label}: seq {{ {text} }} | output {case.label}")
        tensors.update(case.tensors)
        outputs[case.label] = y

    def start(label, of="image"):
        numbers = Numbers(0.021, 119)
        return Case(label), Whole(numbers.of(inputs[of]), numbers)

    case, x = start("plain")
    x = case.product("a", x, 8, (3, 3), bias=True, padding=1, limits=RELU)
    x = case.product("b", x, 8, (3, 3), stride=2, groups=2, limits=(0, 6))
    add("image", case, "a: conv 3x3, 8, half, bias | relu | b: conv 3x3, 8, stride 2, groups 2 | relu6 | c: conv 1x1, 5",
        case.product("c", x, 5, (1, 1), to="real"))

    case, x = start("deep")
    x = case.product("a", x, 6, (5, 5), padding=2, groups=6, stride=(1, 2), limits=(-1, 2))
    x = case.product("b", x, 12, (3, 3), padding=1, groups=6, bias=True)
    add("image", case, "a: conv 5x5, 6, half, groups 6, stride 1x2 | clip -1, 2 | b: conv 3x3, 12, half, groups 6, bias | c: conv 2x3, 20",
        case.product("c", x, 20, (2, 3), to="real"))

    case, x = start("line", "sound")
    x = case.product("a", x, 6, (5,), dilation=2, padding=4, bias=True, limits=RELU)
    add("sound", case, "a: conv 5, 6, dilation 2, half, bias | relu | b: conv 3, 4, bias",
        case.product("b", x, 4, (3,), bias=True, to="real"))

    case, x = start("space", "solid")
    x = case.product("a", x, 5, (3, 2, 3), padding=1, limits=RELU)
    add("solid", case, "a: conv 3x2x3, 5, pad 1 | relu | b: conv 2x2x2, 3", case.product("b", x, 3, (2, 2, 2), to="real"))

    case, x = start("identity_path")
    first = case.product("first", x, 6, (3, 3), padding=1, limits=RELU)
    x = case.product("2.conv1", first, 6, (3, 3), padding=1, bias=True, limits=RELU)
    x = case.product("2.conv2", x, 6, (3, 3), padding=1, limits=RELU, plus=first)
    add("image", case, "first: conv 3x3, 6, half | relu | residual { conv1: conv 3x3, 6, half, bias | relu | conv2: conv 3x3, 6, half } "
        "| relu | last: conv 1x1, 4", case.product("last", x, 4, (1, 1), to="real"))

    case, x = start("projection")
    first = case.product("first", x, 6, (3, 3), padding=1)
    main_path = case.product("1.main", first, 9, (3, 3), padding=1)
    case.says("1.main.output", main_path.numbers)
    x = case.product("1.short", first, 9, (1, 1), plus=main_path)
    add("image", case, "first: conv 3x3, 6, half | residual { main: conv 3x3, 9, half } project { short: conv 1x1, 9 } | last: conv 1x1, 4",
        case.product("last", x, 4, (1, 1), to="real"))

    case, x = start("total")
    first = case.product("first", x, 6, (3, 3), padding=1)
    other = case.product("1.conv1", first, 6, (3, 3), padding=1, limits=RELU)
    case.says("1.conv1.output", other.numbers)
    x = total(first, other, Numbers(0.11, 90), (0, 6))
    add("image", case, "first: conv 3x3, 6, half | residual { conv1: conv 3x3, 6, half | relu } | relu6 | last: conv 1x1, 4",
        case.product("last", x, 4, (1, 1), to="real"))

    case, x = start("joined")
    first = case.product("first", x, 6, (3, 3), padding=1, to=Numbers(0.07, 100))
    parts = [case.product("1.a", first, 5, (3, 3), padding=1, to=first.numbers, limits=RELU), first,
             case.product("1.b", first, 3, (1, 1), to=first.numbers)]
    q = torch.tensor(np.concatenate([part.q for part in parts], 1)).double()
    q = F.max_pool2d(q, 3, 2, 1)
    q = q.unflatten(1, (2, 7)).transpose(1, 2).flatten(1, 2).numpy().astype(np.int64)
    x = Whole(q, first.numbers)
    add("image", case, "first: conv 3x3, 6, half | concat { a: conv 3x3, 5, half | relu\n    identity\n    b: conv 1x1, 3 } "
        "| maxpool 3x3, stride 2, pad 1 | channel_shuffle 2 | last: conv 1x1, 4", case.product("last", x, 4, (1, 1), to="real"))

    case, x = start("gated")
    before = case.product("first", x, 6, (3, 3), padding=1)
    case.says("first.output", before.numbers)
    first = table(before, lambda x: x * sigmoid(x), Numbers(0.03, 9))
    case.says("1.silu.output", first.numbers)
    g = mean(first, Numbers(0.02, 20))
    g = case.product("2.fc1", g, 3, (1, 1), bias=True, limits=RELU)
    g = case.product("2.fc2", g, 6, (1, 1), bias=True)
    case.says("2.fc2.output", g.numbers)
    g = table(g, sigmoid, Numbers(1 / 256, 0))
    case.says("2.sigmoid.output", g.numbers)
    to = Numbers(0.02, 11)
    m = F32(F64(first.numbers.scale) * F64(g.numbers.scale) / F64(to.scale))
    x = rounded((first.steps() * g.steps()).astype(F32) * m, to)
    add("image", case, "first: conv 3x3, 6, half | silu | gate { global_avgpool | fc1: conv 1x1, 3, bias | relu "
        "| fc2: conv 1x1, 6, bias | sigmoid } | last: conv 1x1, 4", case.product("last", x, 4, (1, 1), to="real"))

    case, x = start("means")
    x = mean(x, Numbers(0.009, 130), (3, 2, 1), count_pad=False)
    x = case.product("a", x, 6, (3, 3), padding=1, limits=RELU)
    case.says("a.output", x.numbers)
    x = mean(x, Numbers(0.02, 3), (2, 2, 0))
    add("image", case, "avgpool 3x3, stride 2, pad 1, count_pad false | a: conv 3x3, 6, half | relu | avgpool 2x2 | b: conv 1x1, 4",
        case.product("b", x, 4, (1, 1), to="real"))

    case, x = start("flat")
    x = case.product("first", x, 4, (3, 3), stride=2, limits=RELU)
    x = Whole(x.q.reshape(2, -1), x.numbers)
    x = case.product("fc1", x, 7, (), bias=True, limits=RELU)
    add("image", case, "first: conv 3x3, 4, stride 2 | relu | flatten | fc1: dense 7 | relu | fc2: dense 3, bias false",
        case.product("fc2", x, 3, (), to="real"))

    texts = [f"input {name}: f32[N, {', '.join(map(str, values.shape[1:]))}]" for name, values in inputs.items()]
    text = ["# Layers on whole numbers. Written by tests/pytorch/integers.py.", "model integers", *texts, "", "net {", *lines, "}", ""]
    (FOLDER / "integers.cnn").write_text("\n".join(text))
    save_file(tensors, FOLDER / "integers.weights.safetensors")
    save_file({name: np.ascontiguousarray(array) for name, array in (inputs | outputs).items()}, FOLDER / "integers.values.safetensors")


if __name__ == "__main__":
    main()
