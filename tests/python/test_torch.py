"""Modules of PyTorch, by `from_torch` and as a backend of `torch.compile`."""

import logging
import pickle

import numpy as np
import pytest

import svertka as sv
from svertka import _aten

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
nn, F = torch.nn, torch.nn.functional

pytestmark = pytest.mark.filterwarnings("ignore")

NETWORKS = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "mnasnet0_5", "mobilenet_v2",
    "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "resnet50", "shufflenet_v2_x0_5", "squeezenet1_1",
]  # fmt: skip


def network(name, **options):
    """A network of torchvision with random weights, statistics and biases, so that none of them can be left out."""
    torch.manual_seed(0)
    if name in ("googlenet", "inception_v3"):
        options |= {"init_weights": False}
    module = getattr(torchvision.models, name)(weights=None, **options)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.9, 1.1)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.01)
    return module


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_agree_with_their_modules(name):
    module = network(name)
    exported = sv.from_torch(module, torch.randn(1, 3, 96, 96))
    assert exported.verify() < 1e-4
    assert exported.verify(torch.randn(3, 3, 96, 96)) < 1e-4, "another batch"
    assert "flat" not in " ".join(exported.remarks)
    used = {name for name, _ in module.named_parameters() if not name.startswith(("aux", "AuxLogits"))}
    named = {name.removesuffix(".weight") if name.endswith("layer_scale.weight") else name for name in exported.state_dict}
    assert used <= named, "weights keep their names"


def test_the_text_is_one_that_a_person_could_have_written():
    exported = sv.from_torch(network("resnet18"), torch.randn(1, 3, 224, 224))
    lines = exported.text.splitlines()
    assert "  layer2: 2 x Residual(128, 2 then 1)" in lines
    assert "  fc: dense 1000" in lines
    assert len(lines) < 25


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout())
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


def test_weights_share_the_memory_of_the_module():
    module = Small()
    exported = sv.from_torch(module, torch.randn(1, 3, 8, 8))
    of_module = module.state_dict()
    assert set(exported.state_dict) == {name for name in of_module if not name.endswith("num_batches_tracked")}
    assert all(np.shares_memory(array, of_module[name].numpy()) for name, array in exported.state_dict.items())


def test_the_text_does_not_depend_on_the_weights():
    module = Small()
    x = torch.randn(1, 3, 8, 8)
    text = sv.from_torch(module, x).text
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert sv.from_torch(module, x).text == text


def test_the_module_stays_as_it_is():
    module = Small().train()
    module.features[1].eval()
    sv.from_torch(module, torch.randn(2, 3, 8, 8))
    assert module.training and module.features[3].training and not module.features[1].training


def test_what_is_saved_is_what_was_exported(tmp_path):
    x = torch.randn(2, 3, 8, 8)
    exported = sv.from_torch(Small(), x, name="mine")
    path = exported.save(tmp_path, "saved")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["saved.cnn", "saved.safetensors", "saved.yaml"]
    assert path.read_text() == exported.text and exported.text.startswith("model mine")
    assert np.array_equal(sv.load(path)(x), exported.compile()(x))


def test_compiled_models_can_be_pickled():
    x = torch.randn(2, 3, 8, 8)
    model = sv.from_torch(Small(), x).compile()
    assert np.array_equal(pickle.loads(pickle.dumps(model))(x), model(x))


def test_verify_tells_a_difference():
    module = Small()
    exported = sv.from_torch(module, torch.randn(1, 3, 8, 8))
    exported.verify()
    module.head = nn.Linear(8, 5)
    with pytest.raises(AssertionError, match="differs by"):
        exported.verify()


def test_outputs_have_their_keys():
    class Two(Small):
        def forward(self, x):
            y = self.features(x)
            return {"map": y, "scores": self.head(y.mean((2, 3)))}

    exported = sv.from_torch(Two(), torch.randn(1, 3, 8, 8))
    exported.verify()
    assert list(exported.compile().outputs) == ["map", "scores"]


def test_all_that_is_refused_is_said_at_once():
    class Odd(Small):
        def forward(self, x):
            y = torch.cumsum(self.features(x), dim=2)
            return F.max_pool2d(y, 2, return_indices=True)[1], F.fold(F.unfold(y, 2), (6, 6), 2)

    with pytest.raises(sv.ModelError) as refused:
        sv.from_torch(nn.Sequential(Odd()), torch.randn(1, 3, 8, 8))
    message = str(refused.value)
    assert "aten.cumsum is not imported" in message and "`/0/cumsum" in message
    assert "with its output 1" in message and "`aten.col2im" not in message
    assert "--cut" not in message and len(refused.value.diagnostics) > 2
    with pytest.raises(TypeError, match="tuple of tensors: \\['int'\\]"):
        sv.from_torch(Small(), 3)


class Of(nn.Module):
    """A function, and the modules that it uses."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, torch.Tensor) else part)

    def forward(self, *x):
        return self.function(self, *x)


def of(function):
    return Of(lambda _, *x: function(*x))


CUBE, VIDEO, LINE, ROW = (2, 6, 8, 8), (2, 4, 4, 6, 6), (2, 6, 12), (2, 6)

#: What the networks leave out, by name.
FORMS = {
    "activations": (of(lambda x: [f(x) for f in (F.relu, F.relu6, F.sigmoid, F.tanh, F.hardswish, F.silu, F.mish, F.selu, F.celu)]), CUBE),
    "more activations": (of(lambda x: [F.elu(x), F.elu(x, 0.5), F.leaky_relu(x, 0.2), F.hardsigmoid(x), F.hardtanh(x, -1, 2), F.softplus(x)]), CUBE),
    "gelu": (of(lambda x: [F.gelu(x), F.gelu(x, approximate="tanh"), F.threshold(x, 0.5, 0)]), CUBE),
    "elements": (of(lambda x: [x.exp(), x.abs().sqrt(), (x.abs() + 1).reciprocal(), -x, (x.abs() + 1).rsqrt(), x.abs() ** 2]), CUBE),
    "clamps": (of(lambda x: [x.clamp(-0.5, 0.5), x.clamp(min=0.1), x.clamp_max(0.2)]), CUBE),
    "prelu": (nn.Sequential(nn.PReLU(6), nn.PReLU()), CUBE),
    "softmax": (of(lambda x: [x.softmax(1), x.log_softmax(1)]), ROW),
    "numbers": (of(lambda x: [x + 1, x - 0.5, 2 - x, x * 3, x / 4, torch.add(x, x.relu(), alpha=2), x - 2 * x.relu()]), CUBE),
    "branches": (of(lambda x: [x * x.sigmoid(), torch.maximum(x, x.tanh()), torch.minimum(x, x.tanh()), x.relu() - x.tanh()]), CUBE),
    "conv1d": (nn.Sequential(nn.Conv1d(6, 8, 3, padding=2, dilation=2), nn.ConvTranspose1d(8, 4, 2, stride=2)), LINE),
    "conv2d same": (nn.Sequential(nn.Conv2d(6, 8, 4, padding="same"), nn.Conv2d(8, 8, 3, padding="valid", groups=4)), CUBE),
    "conv3d": (nn.Sequential(nn.Conv3d(4, 6, 3, padding=1), nn.BatchNorm3d(6), nn.MaxPool3d(2), nn.ConvTranspose3d(6, 2, 2)), VIDEO),
    "conv transposed": (nn.ConvTranspose2d(6, 8, 3, stride=2, padding=1, output_padding=1, groups=2), CUBE),
    "linear": (nn.Sequential(nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 4)), ROW),
    "matrices": (Of(lambda m, x: torch.addmm(m.b, torch.mm(x @ m.w, m.w), m.w.mm(m.w), beta=2, alpha=0.5), w=torch.randn(6, 6), b=torch.randn(6)), ROW),
    "norms": (nn.Sequential(nn.GroupNorm(3, 6), nn.InstanceNorm2d(6, affine=True), nn.BatchNorm2d(6, affine=False)), CUBE),
    "plain norms": (nn.Sequential(nn.GroupNorm(2, 6, affine=False), nn.LayerNorm(8, elementwise_affine=False)), CUBE),
    "instance norm with statistics": (nn.Sequential(nn.Conv2d(6, 6, 1), nn.InstanceNorm2d(6, track_running_stats=True)), CUBE),
    "pools": (of(lambda x: [F.max_pool2d(x, 3, 2, 1, ceil_mode=True), F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), F.max_pool1d(x[:, :, 0], 2), F.avg_pool1d(x[:, :, 0], 2)]), CUBE),
    "pools of clips": (of(lambda x: [F.max_pool3d(x, 2), F.avg_pool3d(x, 2), F.adaptive_avg_pool3d(x, 1), F.adaptive_max_pool3d(x, 2)]), VIDEO),
    "adaptive pools": (of(lambda x: [F.adaptive_avg_pool2d(x, 4), F.adaptive_avg_pool2d(x, (3, 5)), F.adaptive_max_pool2d(x, 5), F.adaptive_max_pool2d(x, 1), F.adaptive_avg_pool1d(x[:, :, 0], 2), F.adaptive_max_pool1d(x[:, :, 0], 2)]), CUBE),
    "reductions": (of(lambda x: [x.mean((2, 3), keepdim=True), x.sum((2, 3)), x.amax((2, 3)), x.amin((2, 3)), x.max(1).values, x.min(1).values]), CUBE),
    "norm": (of(lambda x: [torch.linalg.vector_norm(x, dim=1), torch.linalg.vector_norm(x, 1, dim=1)]), CUBE),
    "parts": (of(lambda x: [torch.cat(x.chunk(3, 1)[::-1], 1), torch.cat(x.split([4, 2], 1)[::-1], 1), torch.cat(x.split(2, 1), 2)]), CUBE),
    "slices": (of(lambda x: [x[:, 1:4], x[:, :, 1:-1, ::2], x[:, :, :, -1], x[:, 2]]), CUBE),
    "stacks": (of(lambda x: [torch.stack([x, x.relu()], 1).flatten(1, 2), torch.cat([a.unsqueeze(1) for a in x.unbind(1)], 1)]), CUBE),
    "shapes": (of(lambda x: [x.flatten(1), x.view(x.shape[0], 6, 64), x.reshape(-1, 3, 2, 8, 8).flatten(1, 2), x.unflatten(1, (3, 2)).flatten(2), x.mean(3, keepdim=True).squeeze(3)]), CUBE),
    "orders": (of(lambda x: [x.permute(0, 2, 3, 1).relu().permute(0, 3, 1, 2), x.transpose(1, 2).contiguous(), x.mean((2, 3)).unsqueeze(2)]), CUBE),
    "copies": (of(lambda x: [x.clone() + x.detach(), x.double().float() * 2, F.dropout(x, training=False) + 1, F.dropout2d(x, training=False) + 2]), CUBE),
    "broadcasts": (of(lambda x: x * x.mean((2, 3), keepdim=True).sigmoid().expand_as(x)), CUBE),
    "shuffles": (nn.Sequential(nn.ChannelShuffle(3), nn.Conv2d(6, 8, 1), nn.PixelShuffle(2), nn.PixelUnshuffle(2)), CUBE),
    "paddings": (of(lambda x: [F.pad(x, (1, 2, 0, 1)), F.pad(x, (1, 1, 2, 2), mode="reflect"), F.pad(x, (1, 1, 1, 1), mode="replicate"), F.pad(x, (1, 1), value=2.0), nn.ReflectionPad2d(2)(x), nn.ZeroPad2d(1)(x)]), CUBE),
    "nearest": (of(lambda x: [F.interpolate(x, scale_factor=2), F.interpolate(x, size=(5, 13)), F.interpolate(x, size=(5, 13), mode="nearest-exact")]), CUBE),
    "linear sizes": (of(lambda x: [F.interpolate(x, size=(11, 5), mode="bilinear"), F.interpolate(x, size=(11, 5), mode="bilinear", align_corners=True)]), CUBE),
    "sizes of lines and clips": (of(lambda x: [F.interpolate(x, scale_factor=2, mode="trilinear"), F.interpolate(x[:, :, 0, 0], size=9, mode="linear"), F.interpolate(x[:, :, 0, 0], scale_factor=3)]), VIDEO),
    "factors": (of(lambda x: [F.interpolate(x, scale_factor=1.6, mode="bilinear"), F.interpolate(x, scale_factor=2.0, mode="bicubic")]), CUBE),
    "constants": (Of(lambda m, x: F.conv2d(x, m.w / m.w.norm(dim=0)) * torch.arange(8.0).view(8, 1, 1), w=torch.randn(8, 6, 1, 1)), CUBE),
    "shared": (Of(lambda m, x: m.conv(m.conv(x).relu()), conv=nn.Conv2d(6, 6, 3, padding=1)), CUBE),
    "a batch of two": (of(lambda x: x.reshape(2, 6, 64).relu()), CUBE),
    "a batch of one": (of(lambda x: x.reshape(1, 6, 64).relu()), (1, 6, 8, 8)),
}  # fmt: skip


@pytest.fixture(scope="module")
def seen():
    """Operators that forms had, and the number of forms."""
    return set(), []


@pytest.mark.parametrize("form", FORMS)
def test_forms_agree_with_their_modules(form, seen, monkeypatch):
    torch.manual_seed(0)
    module, shape = FORMS[form]
    operators, forms = seen
    translate = _aten.Translation.call
    monkeypatch.setattr(_aten.Translation, "call", lambda self, node: (operators.add(_aten.operator(node)), translate(self, node)))
    exported = sv.from_torch(module, torch.randn(shape))
    assert exported.verify() < 1e-4
    forms.append(form)


def test_every_rule_is_tested(seen):
    operators, forms = seen
    if len(forms) < len(FORMS):
        pytest.skip("only some forms were tried")
    # Several names may have one rule.
    tested = {_aten.RULES[name] for name in operators if name in _aten.RULES}
    assert not [name for name, rule in _aten.RULES.items() if rule not in tested]


def compiled(module, **options):
    torch._dynamo.reset()
    return torch.compile(module.eval(), backend="svertka", options=options)


def close(found, expected):
    return float((found - expected).abs().max() / expected.abs().max()) < 1e-4


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_networks_are_compiled_whole(name):
    module = network(name).eval()
    fast = compiled(module, strict=True, threads=1)
    with torch.inference_mode():
        for batch in (1, 3):
            x = torch.randn(batch, 3, 64, 64)
            assert close(fast(x), module(x))


class Odd(Small):
    def forward(self, x):
        y = torch.cumsum(self.features(x), dim=3)
        return self.head((F.avg_pool2d(y, 2) * 2).mean((2, 3))), y.sum()


def test_what_is_no_layer_is_left_to_pytorch(caplog):
    module = Odd().eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad(), caplog.at_level(logging.INFO, "svertka"):
        found = compiled(module)(x)
        assert all(close(a, b) for a, b in zip(found, module(x), strict=True))
    assert "left to PyTorch: aten.cumsum" in caplog.text


def test_strict_lists_what_is_no_layer():
    with torch.no_grad(), pytest.raises(Exception, match="(?s)does not take all.*cumsum.*sum"):
        compiled(Odd(), strict=True)(torch.randn(2, 3, 8, 8))


def test_changed_weights_are_packed_again():
    module = Small().eval()
    fast, x = compiled(module), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        before = fast(x)
        module.head.weight.mul_(2)
        assert not torch.equal(fast(x), before) and close(fast(x), module(x))


def test_gradients_are_refused():
    with pytest.raises(Exception, match="no gradients.*inference_mode"):
        compiled(Small())(torch.randn(2, 3, 8, 8))


def test_unknown_options_are_refused():
    with torch.no_grad(), pytest.raises(Exception, match="no options thread;"):
        compiled(Small(), thread=2)(torch.randn(2, 3, 8, 8))
