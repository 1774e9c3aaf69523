"""Tables of many pictures: what is written is what others read."""

import csv
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"

parquet = pytest.importorskip("pyarrow.parquet")


def test_a_committed_table_is_read_by_pyarrow():
    rows = parquet.read_table(DATA / "classes.parquet").to_pylist()
    names = [f"{name}{end}" for end in ("", "_2", "_3") for name in ("class", "label", "probability")]
    assert list(rows[0]) == ["path", *names, "error"]
    best = (1, "cup", 0.75, 0, "tea", 0.25, None, None, None)
    assert rows[0] == {"path": 'a, "b".png', **dict(zip(names, best)), "error": None}
    assert rows[1] == {"path": "c.png", **dict.fromkeys(names), "error": "no\nend"}


def test_parquet_and_csv_say_the_same(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for digit in range(3):
        name = f"digit_{digit}.png"
        (pictures / name).write_bytes((ROOT / "models" / "pictures" / name).read_bytes())
    (pictures / "bad.png").write_bytes(b"no picture")
    run = [sys.executable, "-m", "svertka", "run", ROOT / "models" / "lenet5.cnn", "--input", pictures, "--top", "2"]
    for table in ("t.csv", "t.parquet"):
        subprocess.run([*run, "--output", tmp_path / table], check=True)
    with open(tmp_path / "t.csv", newline="") as file:
        expected = list(csv.DictReader(file))
    found = parquet.read_table(tmp_path / "t.parquet").to_pylist()
    assert len(found) == 4
    for row, of_csv in zip(found, expected, strict=True):
        assert list(row) == list(of_csv)
        for name, value in row.items():
            text = of_csv[name]
            assert (value or text) == text if not isinstance(value, (int, float)) else value == pytest.approx(float(text))
