"""The recipes for many machines, on this one."""

import importlib.util
import shutil

import pytest
from conftest import ROOT

PICTURES = ROOT / "models/pictures"


def recipe(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"src/python/recipes/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pictures(tmp_path):
    """Ten digits, and one that cannot be read."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for digit in range(10):
        shutil.copy(PICTURES / f"digit_{digit}.png", folder)
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def test_two_workers_of_ray_read_all_digits(pictures, tmp_path):
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray[data]'")
    parquet = pytest.importorskip("pyarrow.parquet")
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        model, weights = ROOT / "models/lenet5.cnn", ROOT / "models/weights/lenet5_relu.safetensors"
        recipe("ray_data").main(str(pictures), str(model), str(weights), str(tmp_path / "labels"), 2)
    finally:
        ray.shutdown()
    rows = parquet.read_table(tmp_path / "labels").to_pylist()
    labels = {row["path"].rsplit("/")[-1]: row["label"] for row in rows if row["readable"]}
    assert labels == {f"digit_{digit}.png": str(digit) for digit in range(10)}
    assert [row["path"].rsplit("/")[-1] for row in rows if not row["readable"]] == ["broken.png"]
