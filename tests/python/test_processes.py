"""Threads, forks of processes, and pickles."""

import multiprocessing
import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest
from conftest import ROOT, TEXT, image

import svertka as sv

linux = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")


def test_four_threads_call_one_model():
    m = sv.compile(TEXT, seed=1)
    inputs = [image(4, seed=seed) for seed in range(4)]
    expected = [m(x) for x in inputs]
    wrong = []

    def work(x, y):
        out = np.empty_like(y)
        for _ in range(300):
            if not np.array_equal(m(x, out=out), y):
                wrong.append(y)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(inputs, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_lock_is_free_during_a_call():
    # Long enough to be told from the turns that threads of Python take.
    text = """model deep
    input x: f32[N, 64, 64, 64]
    block Step { conv 3x3, 64, half | relu }
    net { 8 x Step }
    """
    m = sv.compile(text, seed=1, exact=True)
    x = image(8, (64, 64, 64))
    m(x)
    start = time.perf_counter()
    m(x)
    alone = time.perf_counter() - start
    inside = threading.Event()
    longest = 0.0

    def tick():
        nonlocal longest
        last = time.perf_counter()
        while not inside.is_set():
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    ticker = threading.Thread(target=tick)
    ticker.start()
    # Enough for the ticker to see a call from its start to its end.
    for _ in range(4):
        m(x)
    inside.set()
    ticker.join()
    # Held, the lock would keep the ticker out for the whole of a call.
    assert longest < alone * 0.9, (longest, alone)


def test_forks_share_weights_and_have_threads_of_their_own(small):
    other = small.fork(threads=2)
    assert type(other) is sv.Model and (other.threads, small.threads) == (2, 1)
    x = image(5)
    assert np.array_equal(other(x), small(x))
    assert pickle.loads(pickle.dumps(other)).threads == 2


@pytest.mark.parametrize("threads", [1, 2])
def test_pickles_hold_the_recipe(threads, tmp_path, monkeypatch):
    x = image(2, (1, 28, 28))
    monkeypatch.chdir(ROOT / "models")
    m = sv.load("lenet5.cnn:tanh", threads=threads, exact=True)
    pickled = pickle.dumps(m)
    assert len(pickled) < 1000
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(pickled)
    assert type(again) is sv.Model and again.threads == threads
    assert np.array_equal(again(x), m(x))


def test_packed_weights_are_kept_and_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = image(2, (1, 28, 28))
    plain = sv.load(ROOT / "models" / "lenet5.cnn")
    m = sv.load(ROOT / "models" / "lenet5.cnn", packed="kept")
    [file] = (tmp_path / "kept").iterdir()
    made = file.stat().st_ino
    assert np.array_equal(m(x), plain(x))
    for again in sv.load(ROOT / "models" / "lenet5.cnn", packed=tmp_path / "kept"), pickle.loads(pickle.dumps(m)):
        assert np.array_equal(again(x), plain(x))
    assert [f.stat().st_ino for f in (tmp_path / "kept").iterdir()] == [made]


def test_pickles_of_the_zoo():
    m = sv.load("zoo:lenet5", seed=1)
    x = image(1, (1, 28, 28))
    assert np.array_equal(pickle.loads(pickle.dumps(m))(x), m(x))


def test_pickles_of_models_of_arrays(small):
    weights = {name: np.ones(shape) for name, shape in small.weights.items()}
    m = sv.compile(TEXT, weights=weights)
    assert np.array_equal(pickle.loads(pickle.dumps(m))(image()), m(image()))


def child(job) -> int:
    """The exit code of a forked child that does `job`; it has half a minute."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(30)
            job()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@linux
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("threads", [1, 3])
def test_calls_behind_a_fork(threads):
    m = sv.compile(TEXT, seed=1, threads=threads)
    x = image(40)
    expected = m(x)
    values = m.values(x, ["stem"])["stem"]

    def job():
        assert m.threads == 1
        assert np.array_equal(m(x), expected) and np.array_equal(m.values(x, ["stem"])["stem"], values)
        more = m.fork(2)
        assert more.threads == 2 and np.array_equal(more(x), expected)
        assert child(lambda: np.testing.assert_array_equal(more(x), expected)) == 0

    assert child(job) == 0
    assert np.array_equal(m(x), expected) and m.threads == threads


@linux
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_lets_go_of_a_model_that_has_threads():
    models = [sv.compile(TEXT, seed=1, threads=3)]
    models[0](image(40))
    # Its workers are not there to be waited for.
    assert child(models.clear) == 0


@linux
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_forks_while_other_threads_call():
    m = sv.compile(TEXT, seed=1, threads=2)
    x = image(64)
    expected = m(x)
    done = threading.Event()

    def work():
        while not done.is_set():
            m(x)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        codes = [child(lambda: np.testing.assert_array_equal(m(x), expected)) for _ in range(20)]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert codes == [0] * 20


def call(m, x):
    return m(x)


@pytest.mark.parametrize("method", ["spawn", pytest.param("fork", marks=linux)])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_pools_of_processes(method, small):
    x = image(2)
    with multiprocessing.get_context(method).Pool(2) as pool:
        outputs = pool.starmap(call, [(small, x)] * 4)
    assert all(np.array_equal(y, small(x)) for y in outputs)


@linux
def test_no_affinity_is_set():
    before = os.sched_getaffinity(0)
    m = sv.compile(TEXT, seed=1, threads=3)
    m(image(40))
    for task in os.listdir("/proc/self/task"):
        assert os.sched_getaffinity(int(task)) == before
