"""Models that the tests share.

`pip install '.[test]' && pytest` runs them, as continuous integration does. What needs PyTorch (`test_torch`), Ray, Spark
or Daft (`test_recipes`) is skipped where they are missing: `pip install '.[test-all]' && pytest` runs that too.
"""

from pathlib import Path

import numpy as np
import pytest

import svertka as sv

ROOT = Path(__file__).parents[2]

TEXT = """model small(classes = 3)
input image: f32[N, 2, 8, 8]
net {
  stem: conv 3x3, 8, half, bias | relu
  body: residual { conv1: conv 3x3, 8, half, bias } | relu
  global_avgpool | fc: dense classes
}
"""

#: Two inputs and two outputs.
PAIR = """model pair
input left: f32[N, 2, 6, 6]
input right: f32[N, 2, 6, 6]
net {
  concat {
    a: conv 3x3, 4, half
    from right | b: conv 3x3, 4, half
  }
  relu | output features
  global_avgpool | fc: dense 5 | output scores
}
"""


@pytest.fixture(scope="session")
def lenet() -> sv.Model:
    return sv.load(ROOT / "models/lenet5.cnn")


@pytest.fixture(scope="session")
def small() -> sv.Model:
    return sv.compile(TEXT, seed=1)


@pytest.fixture(scope="session")
def pair() -> sv.Model:
    return sv.compile(PAIR, seed=1)


def image(batch: int = 1, shape: tuple[int, ...] = (2, 8, 8), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, *shape), dtype=np.float32)
