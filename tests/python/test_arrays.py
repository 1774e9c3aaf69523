"""Which memory calls read and write."""

import numpy as np
import pytest
from conftest import image

import svertka as sv


class Shared:
    """An object of another library."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Convertible:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


def test_outputs_are_written_where_they_lie(small):
    x = image(3)
    expected = small(x)
    assert expected.flags.c_contiguous and expected.flags.writeable and expected.dtype == np.float32
    room = np.full((5, 3), 7, np.float32)
    out = room[1:4]
    assert small(x, out=out) is out
    assert np.array_equal(room[1:4], expected) and (room[[0, 4]] == 7).all()
    shared = Shared(room[1:4])
    room[:] = 0
    assert small(x, out=shared) is shared and np.array_equal(room[1:4], expected)


def test_inputs_are_read_where_they_lie(small):
    x = image(2)
    expected = small(x)
    for given in [Shared(x), Convertible(x), np.concatenate([x, x])[2:], np.asarray(x).view()]:
        assert np.array_equal(small(given), expected)
    x.flags.writeable = False
    assert np.array_equal(small(x), expected)


def test_nothing_is_copied_in_silence(small):
    x = image(2)
    for wrong, message in [
        (x.astype("float64"), 'float64, not float32; x.astype'),
        (x.astype("uint8"), "uint8, not float32; pixels go through `preprocess`"),
        (Convertible(x.astype("float64")), "float64, not float32"),
        (x.astype(">f4"), "not float32"),
        (x.tolist(), "list is neither an array"),
        (None, "NoneType is neither an array"),
    ]:
        with pytest.raises(TypeError, match=f"input `image`: .*{message}"):
            small(wrong)
    wide = image(2, (2, 8, 16))
    for wrong in [np.asfortranarray(x), wide[..., ::2], x[:, ::-1]]:
        with pytest.raises(ValueError, match="ascontiguousarray"):
            small(wrong)
    crooked = np.frombuffer(bytearray(x.nbytes + 1), np.float32, x.size, offset=0)
    crooked = np.ndarray(x.shape, np.float32, bytearray(x.nbytes + 8), offset=1)
    with pytest.raises(ValueError, match="aligned"):
        small(crooked)


def test_shapes_are_checked(small):
    for shape in [(2, 8, 8), (1, 3, 8, 8), (1, 2, 8, 9), (), (128,)]:
        with pytest.raises(ValueError, match=r"input `image` has shape .* the model expects \[N, 2, 8, 8\]"):
            small(np.zeros(shape, np.float32))
    with pytest.raises(TypeError, match="2 inputs are given, the model has: image"):
        small(image(), image())
    with pytest.raises(TypeError, match="0 inputs are given"):
        small()


def test_outputs_that_cannot_be_written_are_refused(small):
    x = image(3)
    read_only = np.zeros((3, 3), np.float32)
    read_only.flags.writeable = False
    for wrong, error, message in [
        (read_only, ValueError, "read-only"),
        (np.zeros((3, 4), np.float32), ValueError, "output `output` has shape"),
        (np.zeros((2, 3), np.float32), ValueError, "output `output` has shape"),
        (np.zeros((3, 6), np.float32)[:, ::2], ValueError, "C order"),
        (np.zeros((3, 3)), TypeError, "float64"),
        (Convertible(np.zeros((3, 3), np.float32)), TypeError, "`__dlpack__`"),
        ([], TypeError, "list"),
        ({"y": np.zeros((3, 3), np.float32)}, ValueError, "outputs are output"),
    ]:
        with pytest.raises(error, match=message):
            small(x, out=wrong)


def test_outputs_do_not_overlap_inputs():
    m = sv.compile("model m\ninput x: f32[N, 4]\nnet { dense 4 }", seed=1)
    room = np.zeros((5, 4), np.float32)
    with pytest.raises(ValueError, match="memory of an input"):
        m(room[:4], out=room[1:])
    with pytest.raises(ValueError, match="memory of an input"):
        m(room, out=room)
    m(room[:2], out=room[2:4])


def test_several_inputs_and_outputs(pair):
    left, right = image(2, (2, 6, 6)), image(2, (2, 6, 6), 1)
    y = pair(left, right)
    assert list(y) == list(pair.outputs) and y["scores"].shape == (2, 5)
    by_name = pair({"right": right, "left": left})
    assert all(np.array_equal(y[name], by_name[name]) for name in y)
    out = {name: np.empty_like(value) for name, value in y.items()}
    written = pair(left, right, out=out)
    assert all(written[name] is out[name] and np.array_equal(out[name], y[name]) for name in y)
    room = np.empty(2 * 8 * 36, np.float32)
    several = {name: room[: value.size].reshape(value.shape) for name, value in y.items()}
    with pytest.raises(ValueError, match="another output"):
        pair(left, right, out=several)
    with pytest.raises(TypeError, match="dictionary"):
        pair(left, right, out=out["scores"])
    with pytest.raises(ValueError, match="different batch sizes"):
        pair(left, right[:1])
    with pytest.raises(ValueError, match="inputs are left, right"):
        pair({"left": left})
    with pytest.raises(ValueError, match="inputs are left, right"):
        pair({"left": left, "right": right, "more": right})


def test_empty_batches_give_empty_outputs(small, pair):
    assert small(image(0)).shape == (0, 3)
    assert pair(image(0, (2, 6, 6)), image(0, (2, 6, 6)))["features"].shape[0] == 0
    with pytest.raises(ValueError, match="has shape"):
        sv.compile("model m\ninput x: f32[2, 4]\nnet { dense 4 }", seed=1)(np.zeros((0, 4), np.float32))


def test_tensors_of_torch(small):
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(image(2))
    y = torch.empty(2, 3)
    small(x, out=y)
    assert np.array_equal(y.numpy(), small(x.numpy()))
    with pytest.raises(TypeError, match="cannot be shared.*gradient"):
        small(x.requires_grad_())
    with pytest.raises(ValueError, match="C order"):
        small(x.detach().to(memory_format=torch.channels_last))
    state = {name: torch.zeros(shape) for name, shape in small.weights.items()}
    assert (sv.compile(small.source, weights=state)(x.detach()) == 0).all()
