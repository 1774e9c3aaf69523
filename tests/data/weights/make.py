"""Writes the checkpoints here that PyTorch did not write itself, with what people keep in checkpoints.

PyTorch is not needed: the names that its pickles mention are put into modules of that name, and a pickle mentions
them. NumPy is needed for its scalars and arrays. `zip.pth`, which PyTorch wrote, gives the weights, so that every
file here gives the same results. Run it in this folder.
"""

import argparse
import collections
import datetime
import decimal
import enum
import functools
import io
import pathlib
import pickle
import struct
import sys
import tarfile
import types
import zipfile

import numpy


def module(name, **content):
    made = sys.modules[name] = types.ModuleType(name)
    for key, value in content.items():
        value.__module__, value.__qualname__ = name, key
        setattr(made, key, value)
    return made


class Mentioned:
    """A name that pickles mention, whatever it stands for."""

    def __init__(self, module, name):
        self.module, self.__name__ = module, name

    def __reduce__(self):
        return self.__name__

    def __call__(self, *arguments):
        return Called(self, arguments)


class Called:
    def __init__(self, function, arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def mentioned(module_name, *names):
    made = sys.modules.setdefault(module_name, types.ModuleType(module_name))
    for name in names:
        value = Mentioned(module_name, name)
        value.__module__ = module_name
        setattr(made, name, value)
    return [getattr(made, name) for name in names]


class Storage:
    def __init__(self, kind, values, size=4):
        self.kind, self.bytes, self.size = kind, values, size


floats, longs = mentioned("torch", "FloatStorage", "LongStorage")
(untyped,) = mentioned("torch.storage", "UntypedStorage")
size, device, float32, qint8 = mentioned("torch", "Size", "device", "float32", "QInt8Storage")
rebuild, rebuild3, parameter, qtensor = mentioned(
    "torch._utils", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter", "_rebuild_qtensor"
)
(from_type,) = mentioned("torch._tensor", "_rebuild_from_type_v2")
(tensor_class,) = mentioned("torch", "Tensor")


class Pickler(pickle._Pickler):
    """As PyTorch's: storages are described by their keys."""

    def __init__(self, file, protocol, legacy):
        super().__init__(file, protocol)
        self.storages, self.legacy = [], legacy

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        if not any(value is known for known in self.storages):
            self.storages.append(value)
        index = next(i for i, known in enumerate(self.storages) if known is value)
        key = f"9{index:07}" if self.legacy else str(index)
        tail = (None,) if self.legacy else ()
        return ("storage", value.kind, key, "cpu", len(value.bytes) // value.size) + tail


def pickled(value, protocol, legacy=False):
    file = io.BytesIO()
    pickler = Pickler(file, protocol, legacy)
    pickler.dump(value)
    return file.getvalue(), pickler.storages


def save(name, value, protocol=2):
    data, storages = pickled(value, protocol)
    with zipfile.ZipFile(name, "w") as archive:

        def add(entry, content):
            archive.writestr(zipfile.ZipInfo(f"made/{entry}"), content)

        add("data.pkl", data)
        add("byteorder", b"little")
        for index, storage in enumerate(storages):
            add(f"data/{index}", storage.bytes)
        add("version", b"3\n")


def save_legacy(name, value, protocol=2):
    data, storages = pickled(value, protocol, legacy=True)
    facts = dict(protocol_version=1001, little_endian=True, type_sizes=dict(short=2, int=4, long=4))
    with open(name, "wb") as file:
        for start in (0x1950A86A20F9469CFC6C, 1001, facts):
            pickle.dump(start, file, protocol)
        file.write(data)
        order = sorted(range(len(storages)), reverse=True)
        pickle.dump([f"9{index:07}" for index in order], file, protocol)
        for index in order:
            file.write(struct.pack("<q", len(storages[index].bytes) // storages[index].size) + storages[index].bytes)


def tensor(storage, shape):
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return Called(rebuild, (storage, 0, tuple(shape), tuple(strides), False, collections.OrderedDict()))


def weights():
    """Storages and shapes of the weights in `zip.pth`."""
    archive = zipfile.ZipFile("zip.pth")
    folder = archive.namelist()[0].split("/")[0]

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
                return lambda storage, offset, shape, *_: (storage, shape)
            return collections.OrderedDict if name == "OrderedDict" else name

        def persistent_load(self, id):
            kind = longs if id[1] == "LongStorage" else floats
            return Storage(kind, archive.read(f"{folder}/data/{id[2]}"), 8 if kind is longs else 4)

    read = Reader(io.BytesIO(archive.read(f"{folder}/data.pkl"))).load()
    return collections.OrderedDict((name, (storage, shape)) for name, (storage, shape) in read.items())


class Colour(enum.Enum):
    RED = 1


module("training", Colour=Colour)
Net = type("Net", (), {})
Config = type("Config", (dict,), {})
Meters = type("Meters", (list,), {})
module("nets", Net=Net, Config=Config, Meters=Meters)


def extras():
    config = Config(depth=50)
    config.frozen = True
    meters = Meters([0.5, 0.25])
    meters.best = 0.25
    seen = collections.defaultdict(list)
    seen["train"].append(1)
    return {
        "epoch": 12,
        "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("/tmp/run"), gpus=[0, 1]),
        "best": numpy.float64(71.5),
        "history": numpy.arange(3, dtype=numpy.float32),
        "rng": numpy.dtype("int64"),
        "milestones": collections.Counter({30: 1, 60: 1}),
        "seen": seen,
        "recent": collections.deque([1, 2], maxlen=4),
        "device": device("cuda", 0),
        "dtype": float32,
        "shape": size((1, 3, 6, 6)),
        "classes": {"cat", "dog"},
        "frozen": frozenset([1]),
        "raw": b"\x00\xff" * 200,
        "array": bytearray(b"abc"),
        "when": datetime.datetime(2019, 5, 1, 12, 30),
        "took": datetime.timedelta(hours=3),
        "price": decimal.Decimal("1.5"),
        "colour": Colour.RED,
        "complex": 1 + 2j,
        "range": range(3),
        "huge": 1 << 4000,
        "negative": -5,
        "function": functools.partial(int, base=2),
        "config": config,
        "meters": meters,
        "text": "свёртка" * 60,
        "best_loss": tensor(Storage(floats, struct.pack("<f", 0.5)), []),
    }


def optimizer(saved):
    state = {i: {"step": 7, "exp_avg": tensor(s, shape)} for i, (s, shape) in enumerate(saved.values())}
    return {"state": state, "param_groups": [{"lr": 0.1, "params": list(state)}]}


def python2(saved):
    """What Python 2 writes of an ordered dictionary: a list of lists, and names that are bytes."""

    def text(value):
        return b"U" + bytes([len(value)]) + value.encode()

    def number(value):
        return b"K" + bytes([value])

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    def of(index, storage, shape):
        kind = b"ctorch\n" + storage.kind.__name__.encode() + b"\n"
        count = len(storage.bytes) // storage.size
        id = b"(" + text("storage") + kind + text(f"9{index:07}") + text("cpu") + number(count) + b"NtQ"
        strides = numbers([int(numpy.prod(shape[axis + 1 :])) for axis in range(len(shape))])
        sizes = b"ctorch\nSize\n" + numbers(shape) + b"\x85\x81"
        return b"ctorch._utils\n_rebuild_tensor\n(" + id + number(0) + sizes + strides + b"tR"

    def pair(index, name, storage, shape):
        return b"](" + text(name) + of(index, storage, shape) + b"e"

    items = b"".join(pair(i, name, *saved[name]) for i, name in enumerate(saved))
    return b"\x80\x02ccollections\nOrderedDict\n](" + items + b"e\x85R."


def main():
    saved = weights()
    state = collections.OrderedDict((name, tensor(*part)) for name, part in saved.items())
    for protocol in (2, 3, 4, 5):
        save(f"extras_{protocol}.pth", {**extras(), "optimizer": optimizer(saved), "state_dict": state}, protocol)
        save_legacy(f"extras_legacy_{protocol}.pth", {**extras(), "network": state, "optim": optimizer(saved)}, protocol)
    save_legacy("python2.pth", None)
    with open("python2.pth", "rb") as file:
        start = file.read()
    # The start of the old format, then the pickle of Python 2 in the place of that of None.
    start = start[: start.index(pickle.dumps(None, 2) + pickle.dumps([], 2))]
    with open("python2.pth", "wb") as file:
        file.write(start + python2(saved) + pickle.dumps([f"9{i:07}" for i in range(len(saved))], 2))
        for storage, _ in saved.values():
            file.write(struct.pack("<q", len(storage.bytes) // storage.size) + storage.bytes)

    def otherwise(name, storage, shape):
        plain = tensor(storage, shape)
        if name.endswith("weight"):
            return Called(parameter, (plain, True, collections.OrderedDict()))
        if name.endswith("bias"):
            return Called(from_type, (rebuild, tensor_class, plain.arguments, {"note": 1}))
        if name.endswith("running_mean"):
            bytes_alone = Storage(untyped, storage.bytes, 1)
            return Called(rebuild3, (bytes_alone, *plain.arguments[1:], float32))
        return plain

    save("rebuilt.pth", collections.OrderedDict((name, otherwise(name, *part)) for name, part in saved.items()))
    other = collections.OrderedDict(
        (name, tensor(Storage(s.kind, bytes(len(s.bytes)), s.size), shape)) for name, (s, shape) in saved.items()
    )
    save("two.pth", {"model": other, "ema": {"decay": 0.99, "module": state}, "epoch": 3})
    quantised = collections.OrderedDict(state)
    integers = Storage(qint8, bytes(8), 1)
    quantised["d.weight"] = Called(qtensor, (integers, 0, (2, 4, 1, 1), (4, 1, 1, 1), (0, 0.1, 0), False, {}))
    save("quantised.pth", quantised)
    net = Net()
    net._parameters, net._modules, net.training = {"w": tensor(*saved["c.weight"])}, {}, True
    save("whole_model.pth", net)
    save("whole_model_within.pth", {"epoch": 1, "model": net})
    save_legacy("whole_model_legacy.pth", net)
    with tarfile.open("before_0_1_10.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    numpy.savez("arrays.npz", w=numpy.zeros(2, numpy.float32))
    with open("arrays.pkl", "wb") as file:
        pickle.dump({"model": {"w": numpy.zeros(2)}}, file, 2)


main()
