"""The types that are declared are those that there are."""

import subprocess
import sys

import pytest
from conftest import ROOT


def test_stubs_agree_with_the_package(tmp_path):
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy.stubtest", "svertka"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_is_typed(tmp_path):
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "-p", "svertka"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "src/python", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
