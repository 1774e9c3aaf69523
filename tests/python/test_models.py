"""Opening models and what is said of them."""

import pickle
import subprocess
import sys
import xml.etree.ElementTree as xml

import numpy as np
import pytest
from conftest import ROOT, TEXT, image

import svertka as sv

PICTURE = ROOT / "models/pictures/digit_7.png"


def test_a_digit_is_read(lenet):
    best = lenet.classify(PICTURE, top=2)
    assert [type(best[0]), best[0].label, best[0].index, len(best)] == [sv.Class, "7", 7, 2]
    assert 0.99 < best[0].probability <= 1 and best[0].name == "7"
    several = lenet.classify([PICTURE, str(ROOT / "models/pictures/digit_3.png")], top=1)
    assert [[c.label for c in of_sample] for of_sample in several] == [["7"], ["3"]]
    assert lenet.labels[np.array([7, 1])].tolist() == ["7", "1"]


def test_a_model_tells_its_shapes(lenet, pair):
    assert lenet.inputs == {"image": ("N", 1, 28, 28)}
    assert lenet.outputs == {"output": ("N", 10)}
    assert pair.inputs == {"left": ("N", 2, 6, 6), "right": ("N", 2, 6, 6)}
    assert set(pair.outputs) == {"features", "scores"}
    assert lenet.weights["conv1.weight"] == (6, 1, 5, 5)
    assert "lenet5.cnn: image [N, 1, 28, 28] -> output [N, 10]>" in repr(lenet)
    assert lenet.source == (ROOT / "models/lenet5.cnn").read_text()
    assert lenet.threads == 1 and lenet.packed_bytes > 200_000


def test_variants_and_parameters():
    relu = sv.load(ROOT / "models/lenet5.cnn")
    tanh = sv.load(f"{ROOT}/models/lenet5.cnn:tanh")
    weights = ROOT / "models/weights/lenet5_tanh.safetensors"
    given = sv.load(ROOT / "models/lenet5.cnn", act="tanh", pool="avgpool", weights=weights)
    x = image(2, (1, 28, 28))
    assert np.array_equal(tanh(x), given(x)) and not np.array_equal(tanh(x), relu(x))
    small = sv.compile(TEXT, seed=1, classes=np.int64(4))
    assert small.outputs["output"] == ("N", 4)
    assert small.classes(np.eye(4, dtype="float32"), top=1)[2][0].name == "class 2"
    resnet = sv.load(ROOT / "models/resnet.cnn", seed=1, n=[1, 1, 1, 1], path="Basic", classes=7, H=32, W=32)
    assert resnet.inputs["image"] == ("N", 3, 32, 32) and resnet.outputs["output"] == ("N", 7)
    with pytest.raises(TypeError, match="classes: no parameter is a dict"):
        sv.compile(TEXT, seed=1, classes={})


def test_weights_come_from_arrays(small):
    rng = np.random.default_rng(5)
    weights = {name: rng.standard_normal(shape) / 9 for name, shape in small.weights.items()}
    m = sv.compile(TEXT, weights=weights)
    x = image(3)
    wide = sv.compile(TEXT, weights={name: w.astype("float32") for name, w in weights.items()})
    assert np.array_equal(m(x), wide(x))
    # The dense layer, by hand.
    features = np.maximum(m.values(x, ["body"])["body"], 0).mean((2, 3))
    expected = features @ weights["fc.weight"].T + weights["fc.bias"]
    np.testing.assert_allclose(m(x), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="fc.bias"):
        sv.compile(TEXT, weights={name: w for name, w in weights.items() if name != "fc.bias"})
    with pytest.raises(TypeError, match="weight `fc.bias`"):
        sv.compile(TEXT, weights=weights | {"fc.bias": "x"})
    with pytest.raises(TypeError, match="weights are a path"):
        sv.compile(TEXT, weights=3)
    with pytest.raises(ValueError, match="no weights"):
        sv.compile(TEXT)


def test_onnx_files_are_models(tmp_path, lenet):
    path = tmp_path / "lenet.onnx"
    command = [sys.executable, "-m", "svertka", "export", str(ROOT / "models/lenet5.cnn"), "-o", str(path)]
    subprocess.run(command, check=True)
    x = image(2, (1, 28, 28))
    m = sv.load(path)
    np.testing.assert_allclose(m(x), lenet(x), rtol=1e-4, atol=1e-5)
    assert m.source.startswith("model ")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises((ValueError, OSError), match="lenet.onnx"):
        sv.load(path)


def test_errors_are_told_with_the_text(tmp_path):
    with pytest.raises(sv.ModelError) as raised:
        sv.compile("model m\ninput x: f32[N, 2, 4, 4]\nnet { conv 9x9, 4 | rellu }", seed=1)
    error = raised.value
    assert isinstance(error, ValueError) and "conv 9x9, 4 | rellu" in str(error)
    assert {d.code for d in error.diagnostics} == {"E0302", "E0211"}
    unknown = next(d for d in error.diagnostics if d.code == "E0211")
    assert unknown.severity == "error" and "relu" in unknown.fixes[0].text
    assert [unknown.spans[0].line, unknown.spans[0].column, unknown.spans[0].end_column] == [3, 21, 26]
    assert [(e.line, e.column, e.text) for e in unknown.fixes[0].edits] == [(3, 21, "relu")]
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.diagnostics) == (str(error), error.diagnostics)
    with pytest.raises(FileNotFoundError, match="none.cnn"):
        sv.load(tmp_path / "none.cnn")
    with pytest.raises(MemoryError, match="limit"):
        sv.load(ROOT / "models/vgg.cnn", seed=1, memory_limit=1 << 20)
    with pytest.raises(ValueError, match="threads"):
        sv.compile(TEXT, seed=1, threads=0)


def test_files_are_checked(tmp_path):
    path = tmp_path / "odd.cnn"
    path.write_text("model odd\ninput x: f32[N, 2, 9, 9]\nnet { conv 2x2, 4 | conv 1x1, 3 }\n")
    found = sv.check(path)
    assert {d.severity for d in found} == {"warning"} and "W0701" in {d.code for d in found}
    assert "W0701" not in {d.code for d in sv.check(path, allow=["even_kernel"])}
    assert str(found[0]).startswith("warning[W07")
    path.write_text("model odd\ninput x: f32[N, 2, 9, 9]\nnet { convv 2x2, 4 }\n")
    assert [d.severity for d in sv.check(path)] == ["error"]
    assert sv.check(f"{ROOT}/models/lenet5.cnn:tanh") == []
    assert [d.code for d in sv.check(f"{ROOT}/models/lenet5.cnn:sinh")] == ["E0218"]


def test_summary_and_graph(lenet):
    summary = lenet.summary()
    figures = summary.to_dict()
    assert figures["parameters"] == 61_706 and figures["layers"][0]["name"] == "conv1"
    assert figures["arena_bytes"] > 0
    assert "conv1" in str(summary) and "61,706" in summary._repr_html_()
    assert len(xml.fromstring(summary._repr_html_()).findall("tbody/tr")) == len(figures["layers"])
    for stage in ["source", "fused", "plan"]:
        graph = lenet.graph(stage)
        assert xml.fromstring(graph._repr_svg_()).tag.endswith("svg")
        assert graph.dot.startswith("digraph") and graph.mermaid.startswith("flowchart")
    with pytest.raises(ValueError, match="no stage"):
        lenet.graph("planned")


def test_values_of_layers(small):
    x = image(2)
    values = small.values(x, ["stem", "body.conv1", "body"])
    assert list(values) == ["stem", "body.conv1", "body"]
    assert values["stem"].shape == (2, 8, 8, 8)
    after = np.maximum(values["stem"], 0)
    np.testing.assert_allclose(values["body"], after + values["body.conv1"], rtol=1e-4, atol=1e-5)
    assert list(small.values(x, ["fc"])) == ["fc"] and np.allclose(small.values(x, ["fc"])["fc"], small(x), atol=1e-5)
    with pytest.raises(ValueError, match="no layer `bodi`; did you mean `body`"):
        small.values(x, ["bodi"])
    with pytest.raises(ValueError, match="no layer"):
        small.values(x, [])


def test_values_of_models_of_several_inputs(pair):
    left, right = image(2, (2, 6, 6)), image(2, (2, 6, 6), 1)
    both = pair.values((left, right), ["a", "b"])
    named = pair.values({"left": left, "right": right}, ["a"])
    assert np.allclose(both["a"], named["a"], atol=1e-6)


def test_receptive_fields_are_exact(small):
    field = small.receptive_field("body.conv1", (0, 4))
    assert field.ranges == ((-2, 3), (2, 7)) and field.slices == (slice(0, 3), slice(2, 7))
    x = image(1)
    before = small.values(x, ["body.conv1"])["body.conv1"][0, :, 0, 4]
    outside = x + 1
    outside[(..., *field.slices)] = x[(..., *field.slices)]
    after = small.values(outside, ["body.conv1"])["body.conv1"][0, :, 0, 4]
    np.testing.assert_allclose(before, after, rtol=1e-5, atol=1e-6)
    assert small.receptive_field("fc", ()).slices == (slice(0, 8), slice(0, 8))
    with pytest.raises(ValueError, match="no position"):
        small.receptive_field("stem", (8, 0))


def test_the_plan_is_explained(lenet):
    assert "lenet5 for" in lenet.explain() and "kernel" in lenet.explain("conv2")
    assert "passes" in lenet.explain(verbose=True)
    with pytest.raises(ValueError, match="no layer `conv9` after fusion; did you mean"):
        lenet.explain("conv9")


def test_pictures_come_as_files_bytes_and_pixels(lenet, tmp_path):
    from_file = lenet.preprocess(PICTURE)
    data = PICTURE.read_bytes()
    assert from_file.shape == (1, 1, 28, 28) and from_file.dtype == np.float32
    assert np.array_equal(lenet.preprocess(data), from_file)
    pixels = np.round((from_file[0, 0] * 0.3081 + 0.1307) * 255).astype("uint8")
    assert np.allclose(lenet.preprocess(pixels), from_file, atol=1e-6)
    assert np.allclose(lenet.preprocess(pixels[..., None], layout="HWC"), from_file, atol=1e-6)
    bad = tmp_path / "bad.png"
    bad.write_bytes(data[:90])
    x, held = lenet.preprocess([PICTURE, bad, data, b"none", tmp_path / "missing.png"], errors="mask")
    assert held.tolist() == [True, False, True, False, False] and x.shape == (2, 1, 28, 28)
    nothing, held = lenet.preprocess([bad], errors="mask")
    assert nothing.shape == (0, 1, 28, 28) and lenet(nothing).shape == (0, 10) and not held.any()
    with pytest.raises(ValueError, match="picture 1: "):
        lenet.preprocess([PICTURE, b"none"])
    with pytest.raises(FileNotFoundError):
        lenet.preprocess(tmp_path / "missing.png")
    with pytest.raises(TypeError, match="a picture is"):
        lenet.preprocess([3])
    with pytest.raises(ValueError, match="no layout"):
        lenet.preprocess(pixels, layout="CWH")
    with pytest.raises(ValueError, match="errors is"):
        lenet.preprocess(PICTURE, errors="ignore")


def test_the_command(tmp_path):
    def run(*words):
        command = [sys.executable, "-m", "svertka", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    done = run("run", "models/lenet5.cnn", "--input", "models/pictures/digit_7.png")
    assert done.stdout.startswith("digit_7.png: 7  0.9"), done.stderr
    assert run("check", "none.cnn").returncode == 1
    assert run("chekc").returncode == 2
    assert sv.__version__ in run("--version").stdout


def test_products_of_bf16_are_an_option_of_its_own():
    with pytest.raises(ValueError, match="leave out one of the two"):
        sv.load(ROOT / "models/lenet5.cnn", exact=True, products="bf16")
    with pytest.raises(ValueError, match="products: `int4` is none"):
        sv.load(ROOT / "models/lenet5.cnn", products="int4")
    assert sv.load(ROOT / "models/lenet5.cnn", products="f32").classify(PICTURE, top=1)[0].label == "7"
