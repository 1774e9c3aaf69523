"""The recipes for many machines, on this one. Skipped where Ray, Spark or Daft is not installed."""

import importlib.util
import os
import shutil
import sys
import threading
from pathlib import Path

import pytest
from conftest import ROOT

MODEL, WEIGHTS = (str(ROOT / "models" / name) for name in ("lenet5.cnn", "weights/lenet5_relu.safetensors"))

pytestmark = pytest.mark.filterwarnings("ignore")


def recipe(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"src/python/recipes/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pictures(tmp_path):
    """Digits, so many that several workers get some, and one picture that cannot be read."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for digit in range(10):
        for copy in range(10):
            shutil.copy(ROOT / f"models/pictures/digit_{digit}.png", folder / f"{digit}_{copy}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def rows(output):
    """Of Parquet files, by the names of the pictures; there is one of each."""
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(output).to_pylist()
    found = {row["path"].rsplit("/")[-1]: row for row in table}
    assert len(found) == len(table) == 101
    return found


def expected(of_broken):
    return {f"{digit}_{copy}.png": str(digit) for digit in range(10) for copy in range(10)} | {"broken.png": of_broken}


class Mapped(threading.Thread):
    """Watches Ray's workers: of those that map a file ending in `.packed`, how much of it others hold too, in bytes."""

    def __init__(self):
        super().__init__(daemon=True)
        self.done, self.shared = threading.Event(), {}

    def run(self):
        while not self.done.wait(0.1):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if (process / "cmdline").read_bytes().startswith(b"ray::"):
                        self.look(process)
                except OSError:  # it has ended
                    continue

    def look(self, process):
        of_file = False
        for line in (process / "smaps").read_text().splitlines():
            first, *rest = line.split()
            if not first.endswith(":"):
                of_file = line.endswith(".packed")
            elif of_file and first == "Shared_Clean:":
                self.shared[process.name] = max(self.shared.get(process.name, 0), int(rest[0]) * 1024)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_workers_of_ray_read_all_digits_and_share_packed_weights(pictures, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray[data]'")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    mapped = Mapped()
    mapped.start()
    try:
        recipe("ray_data").classify(str(pictures), MODEL, WEIGHTS, str(tmp_path / "labels"), str(tmp_path / "packed"), 2)
    finally:
        mapped.done.set()
        ray.shutdown()
    found = rows(tmp_path / "labels")
    assert {name: row["label"] for name, row in found.items()} == expected("")
    assert [name for name, row in found.items() if not row["readable"]] == ["broken.png"]
    [packed] = (tmp_path / "packed").iterdir()
    assert len(mapped.shared) == 2, "two workers map it"
    assert min(mapped.shared.values()) >= packed.stat().st_size, "all of it is in memory once"


def test_spark_reads_all_digits(pictures, tmp_path, monkeypatch):
    pytest.importorskip("pyspark", reason="Spark is not installed: pip install pyspark pandas pyarrow")
    if not (shutil.which("java") or "JAVA_HOME" in os.environ):
        pytest.skip("there is no Java, which Spark needs")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    spark = recipe("spark")
    session = spark.SparkSession.builder.master("local[2]").config("spark.ui.enabled", False).getOrCreate()
    try:
        spark.classify(str(pictures), MODEL, WEIGHTS, str(tmp_path / "labels"), str(tmp_path / "packed"))
    finally:
        session.stop()
    assert {name: row["label"] for name, row in rows(tmp_path / "labels").items()} == expected(None)
    assert len(list((tmp_path / "packed").iterdir())) == 1


def test_daft_reads_all_digits(pictures, tmp_path):
    pytest.importorskip("daft.functions", reason="Daft is not installed: pip install daft")
    recipe("with_daft").classify(f"{pictures}/*.png", MODEL, WEIGHTS, str(tmp_path / "labels"), str(tmp_path / "packed"))
    found = {name: row["found"] and row["found"]["label"] for name, row in rows(tmp_path / "labels").items()}
    assert found == expected(None)
    assert len(list((tmp_path / "packed").iterdir())) == 1
