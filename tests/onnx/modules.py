"""Networks as people write them in PyTorch: small, and each with something that exporters say in a way of its own."""

import torch
import torch.nn.functional as F
from torch import nn


def conv_bn_relu(c, out, k=3, stride=1):
    return nn.Sequential(nn.Conv2d(c, out, k, stride, k // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True))


class UNet(nn.Module):
    """Upwards by transposed convolutions, or by interpolation to the size of what is joined."""

    def __init__(self, resized=False):
        super().__init__()
        self.resized = resized
        self.down = nn.ModuleList([conv_bn_relu(3, 8), conv_bn_relu(8, 16)])
        self.mid = conv_bn_relu(16, 32)
        up = (lambda c, out: nn.Conv2d(c, out, 1)) if resized else (lambda c, out: nn.ConvTranspose2d(c, out, 2, 2))
        self.up = nn.ModuleList([up(32, 16), up(16, 8)])
        self.merge = nn.ModuleList([conv_bn_relu(32, 16), conv_bn_relu(16, 8)])
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.mid(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips)):
            x = up(x)
            if self.resized:
                x = F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
            x = merge(torch.cat([skip, x], 1))
        return self.head(x)


class SubPixel(nn.Module):
    """Channels become positions (ESPCN), or positions channels first."""

    def __init__(self, fewer=False):
        super().__init__()
        self.fewer = nn.PixelUnshuffle(2) if fewer else nn.Identity()
        self.conv = nn.Conv2d(12 if fewer else 3, 12, 3, padding=1)
        self.more = nn.PixelShuffle(2)

    def forward(self, x):
        return self.more(torch.tanh(self.conv(self.fewer(x))))


class Generator(nn.Module):
    """DCGAN's."""

    def __init__(self):
        super().__init__()
        up = lambda c, out, k, stride, pad: [nn.ConvTranspose2d(c, out, k, stride, pad, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        last = [nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*up(20, 32, 4, 1, 0), *up(32, 8, 4, 2, 1), *last)

    def forward(self, x):
        return self.main(x)


class Causal(nn.Module):
    """A block of a temporal convolutional network: what looks ahead is cut off."""

    def __init__(self, c, out, dilation):
        super().__init__()
        self.cut = 2 * dilation
        self.conv1 = nn.Conv1d(c, out, 3, padding=self.cut, dilation=dilation)
        self.conv2 = nn.Conv1d(out, out, 3, padding=self.cut, dilation=dilation)
        self.down = nn.Conv1d(c, out, 1) if c != out else nn.Identity()

    def forward(self, x):
        y = F.relu(self.conv1(x)[:, :, : -self.cut].contiguous())
        y = F.relu(self.conv2(y)[:, :, : -self.cut].contiguous())
        return F.relu(y + self.down(x))


class Temporal(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(Causal(4, 8, 1), Causal(8, 8, 2), Causal(8, 8, 4))
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(self.net(x)[:, :, -1])


class Pyramid(nn.Module):
    """Features of all scales, the smaller ones enlarged and added: by a factor, or to the size of the larger."""

    def __init__(self, factor=False):
        super().__init__()
        self.factor = factor
        self.body = nn.ModuleList([conv_bn_relu(3, 8, stride=2), conv_bn_relu(8, 16, stride=2), conv_bn_relu(16, 32, stride=2)])
        self.lateral = nn.ModuleList([nn.Conv2d(c, 12, 1) for c in (8, 16, 32)])
        self.out = nn.ModuleList([nn.Conv2d(12, 12, 3, padding=1) for _ in range(3)])

    def forward(self, x):
        features = []
        for body in self.body:
            x = body(x)
            features.append(x)
        top = self.lateral[2](features[2])
        found = [self.out[2](top)]
        for level in (1, 0):
            own = self.lateral[level](features[level])
            more = {"scale_factor": 2} if self.factor else {"size": own.shape[-2:]}
            top = own + F.interpolate(top, mode="nearest", **more)
            found.insert(0, self.out[level](top))
        return tuple(found)


class GroupNorms(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        half = lambda: [nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 16, 3, padding=1)]
        self.blocks = nn.ModuleList([nn.Sequential(*half(), *half()) for _ in range(3)])
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.fc(x.mean((2, 3)))


class Separable(nn.Module):
    """MobileNet."""

    def __init__(self):
        super().__init__()
        relu6 = lambda c: [nn.BatchNorm2d(c), nn.ReLU6()]
        deep = lambda c, out, s: [nn.Conv2d(c, c, 3, s, 1, groups=c, bias=False), *relu6(c), nn.Conv2d(c, out, 1, bias=False), *relu6(out)]
        rows = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2)]
        self.model = nn.Sequential(conv_bn_relu(3, 8, stride=2), *[nn.Sequential(*deep(*row)) for row in rows], nn.AdaptiveAvgPool2d(1))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return F.softmax(self.fc(self.model(x).view(-1, 64)), 1)


class Keypoints(nn.Module):
    """Heat maps and offsets: two outputs."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(conv_bn_relu(3, 16, stride=2), conv_bn_relu(16, 32, stride=2))
        up = lambda c: [nn.ConvTranspose2d(c, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        self.head = nn.Sequential(*up(32), *up(16))
        self.heat, self.offset = nn.Conv2d(16, 17, 1), nn.Conv2d(16, 34, 1)

    def forward(self, x):
        x = self.head(self.backbone(x))
        return self.heat(x), self.offset(x)


class Attention(nn.Module):
    """Over the channels, then over the positions (CBAM)."""

    def __init__(self):
        super().__init__()
        self.conv = conv_bn_relu(3, 16)
        self.squeeze = nn.Sequential(nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 16), nn.Sigmoid())
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        x = self.conv(x)
        b, c, _, _ = x.shape
        x = x * self.squeeze(x.mean((2, 3)).view(b, c)).view(b, c, 1, 1)
        both = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
        x = x * torch.sigmoid(self.spatial(both))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Detector(nn.Module):
    """A head of YOLO's: boxes of each position apart from each other."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv_bn_relu(3, 16, stride=2), conv_bn_relu(16, 16, stride=2))
        self.head = nn.Conv2d(16, 3 * 8, 1)

    def forward(self, x):
        x = self.head(self.body(x))
        b, _, h, w = x.shape
        return x.view(b, 3, 8, h, w).permute(0, 1, 3, 4, 2).contiguous()


class Segmenter(nn.Module):
    """A mean of all positions is put back at each of them (DeepLab), and the scores at those of the picture."""

    def __init__(self):
        super().__init__()
        self.stem = conv_bn_relu(3, 16, stride=2)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 8, 1), nn.ReLU())
        self.out = nn.Conv2d(24, 3, 1)

    def forward(self, x):
        size = x.shape[-2:]
        x = self.stem(x)
        pooled = F.interpolate(self.pool(x), size=x.shape[-2:], mode="bilinear", align_corners=False)
        return F.interpolate(self.out(torch.cat([x, pooled], 1)), size=size, mode="bilinear", align_corners=False)


# By name: how to make it, and a size of its input.
MODULES = {
    "unet": (UNet, (3, 32, 32)),
    "unet_resized": (lambda: UNet(True), (3, 32, 32)),
    "espcn": (SubPixel, (3, 16, 16)),
    "unshuffle": (lambda: SubPixel(True), (3, 16, 16)),
    "dcgan": (Generator, (20, 2, 2)),
    "tcn": (Temporal, (4, 48)),
    "pyramid": (Pyramid, (3, 32, 32)),
    "pyramid_factor": (lambda: Pyramid(True), (3, 32, 32)),
    "group_norm": (GroupNorms, (3, 32, 32)),
    "mobilenet_v1": (Separable, (3, 32, 32)),
    "keypoints": (Keypoints, (3, 32, 32)),
    "cbam": (Attention, (3, 32, 32)),
    "yolo_head": (Detector, (3, 32, 32)),
    "segmenter": (Segmenter, (3, 32, 32)),
}


def make(name):
    """With statistics as training leaves them: with those of a new network, outputs would hardly depend on the input."""
    torch.manual_seed(0)
    made = MODULES[name][0]()
    for layer in made.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return made.eval()
