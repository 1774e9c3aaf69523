"""The types that are declared are those that there are."""

import ast
import inspect
import subprocess
import sys

import pytest
from conftest import ROOT

from svertka import _svertka


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


def test_stubs_say_what_help_says():
    stub = ast.parse((ROOT / "src/python/svertka/_svertka.pyi").read_text())
    documented = 0
    for of_class in (node for node in stub.body if isinstance(node, ast.ClassDef)):
        for member in (node for node in of_class.body if isinstance(node, ast.FunctionDef) and ast.get_docstring(node)):
            at_runtime = inspect.getdoc(getattr(getattr(_svertka, of_class.name), member.name))
            assert ast.get_docstring(member) == at_runtime, f"{of_class.name}.{member.name}"
            documented += 1
    assert documented > 10
