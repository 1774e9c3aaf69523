"""Networks of models/ that torchvision has not, for compare.py: what their papers and best known programs say, written
again with the weight names of these. Sections of Darknet's are those of its configuration files."""

import torch
import torch.nn.functional as F
from torch import nn


class Named(nn.Module):
    """Modules by name, and a function of them and the input."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.function = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.function(self, x)


# Darknet: names of PyTorch-YOLOv3 (eriklindernoren), routes and shortcuts as in the .cfg files of pjreddie/darknet.


def conv(filters, size, stride=1, norm=True):
    return ("conv", filters, size, stride, norm)


def pool(stride=2):
    return ("pool", stride)


def alternate(filters, count):
    return [conv(filters, 3) if i % 2 == 0 else conv(filters // 2, 1) for i in range(count)]


def stage(filters, count):
    return [conv(filters, 3, 2)] + [conv(filters // 2, 1), conv(filters, 3), ("shortcut", -3)] * count


DARKNET19 = [conv(32, 3), pool(), conv(64, 3), pool(), *alternate(128, 3), pool(), *alternate(256, 3), pool()]
DARKNET19 += [*alternate(512, 5), pool(), *alternate(1024, 5)]
DARKNET53 = [conv(32, 3), *stage(64, 1), *stage(128, 2), *stage(256, 8), *stage(512, 8), *stage(1024, 4)]


def detector(filters, count):
    """Convolutions of 1x1 and 3x3 in turn, and a head."""
    return [conv(filters, 1), conv(2 * filters, 3)] * count + [conv(255, 1, norm=False), ("yolo",)]


YOLOV2 = DARKNET19 + [conv(1024, 3), conv(1024, 3), ("route", -9), conv(64, 1), ("reorg",), ("route", -1, -4)]
YOLOV2 += [conv(1024, 3), conv(425, 1, norm=False), ("yolo",)]
YOLOV3 = DARKNET53 + detector(512, 3) + [("route", -4), conv(256, 1), ("upsample",), ("route", -1, 61)]
YOLOV3 += detector(256, 3) + [("route", -4), conv(128, 1), ("upsample",), ("route", -1, 36)] + detector(128, 3)
YOLOV3_TINY = [section for i in range(5) for section in (conv(16 << i, 3), pool())] + [conv(512, 3), pool(1), conv(1024, 3)]
YOLOV3_TINY += [*detector(256, 1), ("route", -4), conv(128, 1), ("upsample",), ("route", -1, 8)]
YOLOV3_TINY += [conv(256, 3), conv(255, 1, norm=False), ("yolo",)]


class Darknet(nn.Module):
    def __init__(self, sections, heads=("output",)):
        super().__init__()
        self.sections, self.heads, self.module_list, channels = sections, heads, nn.ModuleList(), []
        for i, (kind, *args) in enumerate(sections):
            module, before = nn.Sequential(), channels[-1] if channels else 3
            if kind == "conv":
                filters, size, stride, norm = args
                module.add_module(f"conv_{i}", nn.Conv2d(before, filters, size, stride, size // 2, bias=not norm))
                if norm:
                    module.add_module(f"batch_norm_{i}", nn.BatchNorm2d(filters))
                    module.add_module(f"leaky_{i}", nn.LeakyReLU(0.1))
                before = filters
            elif kind == "route":
                before = sum(channels[route] for route in args)
            elif kind == "reorg":
                before *= 4
            self.module_list.append(module)
            channels.append(before)

    def forward(self, x):
        values, found = [], []
        for (kind, *args), module in zip(self.sections, self.module_list):
            if kind == "conv":
                x = module(x)
            elif kind == "pool":
                # Darknet pads behind the map, with values that are never the largest.
                x = F.max_pool2d(x if args[0] == 2 else F.pad(x, (0, 1, 0, 1), value=-torch.inf), 2, args[0])
            elif kind == "shortcut":
                x = values[-1] + values[args[0]]
            elif kind == "route":
                x = torch.cat([values[route] for route in args], 1)
            elif kind == "upsample":
                x = F.interpolate(x, scale_factor=2)
            elif kind == "reorg":
                n, c, h, w = x.shape
                # Element k, j, i of the output is element k % (c / 4), 2j + .., 2i + .. of the input's memory.
                blocks = x.reshape(n, c // 4, h, 2, w, 2).permute(0, 3, 5, 1, 2, 4)
                x = blocks.reshape(n, 4 * c, h // 2, w // 2)
            elif kind == "average":
                x = x.mean((2, 3), keepdim=True)
            elif kind == "softmax":
                x = x.flatten(1).softmax(1)
            elif kind == "yolo":
                found.append(x)
            values.append(x)
        return dict(zip(self.heads, found)) if found else x


def darknet19():
    return Darknet(DARKNET19 + [conv(1000, 1, norm=False), ("average",), ("softmax",)])


def darknet53():
    return Darknet(DARKNET53 + [("average",), conv(1000, 1, norm=False), ("softmax",)])


def yolov2():
    return Darknet(YOLOV2)


def yolov3():
    return Darknet(YOLOV3, ("large", "medium", "output"))


def yolov3_tiny():
    return Darknet(YOLOV3_TINY, ("large", "output"))


def hed():
    """pytorch-hed (sniklaus)."""
    parts, channels = {}, [3, 64, 128, 256, 512, 512]
    names = ["One", "Two", "Thr", "Fou", "Fiv"]
    for i, (name, count) in enumerate(zip(names, (2, 2, 3, 3, 3))):
        layers = [] if i == 0 else [nn.MaxPool2d(2)]
        for j in range(count):
            layers += [nn.Conv2d(channels[i + (j > 0)], channels[i + 1], 3, padding=1), nn.ReLU()]
        parts["moduleVgg" + name] = nn.Sequential(*layers)
    parts |= {"moduleScore" + name: nn.Conv2d(channels[i + 1], 1, 1) for i, name in enumerate(names)}

    def forward(self, x):
        size, scores = x.shape[2:], []
        for name in names:
            x = getattr(self, "moduleVgg" + name)(x)
            scores.append(F.interpolate(getattr(self, "moduleScore" + name)(x), size, mode="bilinear", align_corners=False))
        return self.moduleCombine(torch.cat(scores, 1))

    return Named(forward, **parts, moduleCombine=nn.Sequential(nn.Conv2d(5, 1, 1), nn.Sigmoid()))


def unet_transposed():
    """Pytorch-UNet (milesial) without `bilinear`."""

    def double(before, after):
        layers = []
        for channels in (before, after):
            layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        return Named(lambda self, x: self.double_conv(x), double_conv=nn.Sequential(*layers))

    def down(before):
        layers = nn.Sequential(nn.MaxPool2d(2), double(before, 2 * before))
        return Named(lambda self, x: self.maxpool_conv(x), maxpool_conv=layers)

    def up(before):
        halved = before // 2
        return Named(
            lambda self, pair: self.conv(torch.cat([pair[1], self.up(pair[0])], 1)),
            up=nn.ConvTranspose2d(before, halved, 2, 2),
            conv=double(before, halved),
        )

    def forward(self, x):
        seen = [self.inc(x)]
        for i in range(1, 5):
            seen.append(getattr(self, f"down{i}")(seen[-1]))
        x = seen.pop()
        for i in range(1, 5):
            x = getattr(self, f"up{i}")((x, seen.pop()))
        return self.outc(x)

    parts = {f"down{i}": down(64 << i - 1) for i in range(1, 5)} | {f"up{i}": up(2048 >> i) for i in range(1, 5)}
    outc = Named(lambda self, x: self.conv(x), conv=nn.Conv2d(64, 2, 1))
    return Named(forward, inc=double(3, 64), **parts, outc=outc)


def espcn(scale):
    """ESPCN-pytorch (yjn870)."""
    first = nn.Sequential(nn.Conv2d(1, 64, 5, padding=2), nn.Tanh(), nn.Conv2d(64, 32, 3, padding=1), nn.Tanh())
    last = nn.Sequential(nn.Conv2d(32, scale**2, 3, padding=1), nn.PixelShuffle(scale))
    return Named(lambda self, x: self.last_part(self.first_part(x)), first_part=first, last_part=last)


def fsrcnn(scale, d=56, s=12, m=4):
    """FSRCNN-pytorch (yjn870)."""
    middle = [nn.Conv2d(d, s, 1), nn.PReLU(s)]
    for _ in range(m):
        middle += [nn.Conv2d(s, s, 3, padding=1), nn.PReLU(s)]
    middle += [nn.Conv2d(s, d, 1), nn.PReLU(d)]
    return Named(
        lambda self, x: self.last_part(self.mid_part(self.first_part(x))),
        first_part=nn.Sequential(nn.Conv2d(1, d, 5, padding=2), nn.PReLU(d)),
        mid_part=nn.Sequential(*middle),
        last_part=nn.ConvTranspose2d(d, 1, 9, scale, 4, scale - 1),
    )


def dcgan():
    """The generator of pytorch/examples, dcgan/main.py."""
    layers, before = [], 100
    for i, after in enumerate((512, 256, 128, 64)):
        layers += [nn.ConvTranspose2d(before, after, 4, 1 + (i > 0), int(i > 0), bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        before = after
    layers += [nn.ConvTranspose2d(before, 3, 4, 2, 1, bias=False), nn.Tanh()]
    return Named(lambda self, x: self.main(x), main=nn.Sequential(*layers))


def mobilenet_v1(alpha):
    """pytorch-mobilenet (marvis)."""

    def part(before, after, size, stride, groups=1):
        return [nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(after), nn.ReLU()]

    channels = [int(c * alpha) for c in (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)]
    model = [nn.Sequential(*part(3, channels[0], 3, 2))]
    for i, (before, after) in enumerate(zip(channels, channels[1:])):
        depthwise = part(before, before, 3, 2 if i in (1, 3, 5, 11) else 1, before)
        model.append(nn.Sequential(*depthwise, *part(before, after, 1, 1)))
    return Named(
        lambda self, x: self.fc(self.model(x).mean((2, 3))), model=nn.Sequential(*model), fc=nn.Linear(channels[-1], 1000)
    )


def repvgg(counts, widths, groups=1, deploy=True):
    """RepVGG (DingXiaoH)."""

    def conv_bn(before, after, size, stride, groups):
        convolution = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
        return Named(lambda self, x: self.bn(self.conv(x)), conv=convolution, bn=nn.BatchNorm2d(after))

    def layer(before, after, stride, groups):
        if deploy:
            fused = nn.Conv2d(before, after, 3, stride, 1, groups=groups)
            return Named(lambda self, x: F.relu(self.rbr_reparam(x)), rbr_reparam=fused)
        branches = {"rbr_dense": conv_bn(before, after, 3, stride, groups), "rbr_1x1": conv_bn(before, after, 1, stride, groups)}
        if before == after and stride == 1:
            branches["rbr_identity"] = nn.BatchNorm2d(after)
        return Named(lambda self, x: F.relu(sum(branch(x) for branch in self.children())), **branches)

    before, index, stages = min(64, int(64 * widths[0])), 1, []
    stages.append(layer(3, before, 2, 1))
    for i, (count, width) in enumerate(zip(counts, widths)):
        layers, after = [], int((64 << i) * width)
        for j in range(count):
            layers.append(layer(before, after, 2 if j == 0 else 1, groups if index % 2 == 0 else 1))
            before, index = after, index + 1
        stages.append(nn.Sequential(*layers))

    def forward(self, x):
        for i in range(5):
            x = getattr(self, f"stage{i}")(x)
        return self.linear(x.mean((2, 3)))

    return Named(forward, **{f"stage{i}": stage for i, stage in enumerate(stages)}, linear=nn.Linear(before, 1000))


REPVGG = {"a0": ([2, 4, 14, 1], [0.75, 0.75, 0.75, 2.5]), "a1": ([2, 4, 14, 1], [1, 1, 1, 2.5])}
REPVGG |= {"a2": ([2, 4, 14, 1], [1.5, 1.5, 1.5, 2.75]), "b0": ([4, 6, 16, 1], [1, 1, 1, 2.5])}
REPVGG |= {
    f"b{i}{f'g{groups}' if groups > 1 else ''}": ([4, 6, 16, 1], widths, groups)
    for i, widths in ((1, [2, 2, 2, 4]), (2, [2.5, 2.5, 2.5, 5]), (3, [3, 3, 3, 5]))
    for groups in (1, 2, 4)
}

# The network of each name, and the usual shape of its input.
NETWORKS = {"darknet19": (darknet19, (3, 256, 256)), "darknet53": (darknet53, (3, 256, 256)), "hed": (hed, (3, 320, 480))}
NETWORKS |= {"unet_transposed": (unet_transposed, (3, 512, 512)), "dcgan": (dcgan, (100, 1, 1))}
NETWORKS |= {name: (globals()[name], (3, 416, 416)) for name in ("yolov2", "yolov3", "yolov3_tiny")}
NETWORKS |= {f"espcn_x{scale}": (lambda scale=scale: espcn(scale), (1, 120, 180)) for scale in (2, 3, 4)}
NETWORKS |= {f"fsrcnn_x{scale}": (lambda scale=scale: fsrcnn(scale), (1, 120, 180)) for scale in (2, 3, 4)}
NETWORKS |= {
    f"mobilenet_v1_{name}": (lambda alpha=alpha: mobilenet_v1(alpha), (3, 224, 224))
    for name, alpha in (("0_25", 0.25), ("0_5", 0.5), ("0_75", 0.75), ("1_0", 1.0))
}
NETWORKS |= {f"repvgg_{name}": (lambda args=args: repvgg(*args), (3, 224, 224)) for name, args in REPVGG.items()}
NETWORKS |= {
    f"repvgg_{name}_train": (lambda args=args: repvgg(*args, deploy=False), (3, 224, 224)) for name, args in REPVGG.items()
}
