"""What a call from Python takes longer than the same run from Rust, on LeNet-5: the package beside its own command.

    pip install . && python benches/call_overhead.py [--rounds 5]

`svertka bench` and loops of Python take turns; figures are the least of all rounds of the fastest run and of the median.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import numpy as np

import svertka as sv

NETWORK = "zoo:lenet5"


def of_rust():
    """Microseconds of the fastest run and of the median."""
    command = ["-m", "svertka", "bench", NETWORK, "--seed", "1", "--threads", "1", "--min-time", "2", "--json", "-"]
    done = subprocess.run([sys.executable, *command], check=True, capture_output=True)
    steady = json.loads(done.stdout)["results"][0]["steady"]
    return 1e6 * steady["min_s"], 1e6 * steady["median_s"]


def of_python(call, seconds=2.0):
    """The same of a call."""
    clock, times = time.perf_counter_ns, []
    end = clock() + int(seconds * 1e9)
    while (start := clock()) < end:
        call()
        times.append(clock() - start)
    return min(times) / 1e3, statistics.median(times) / 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds

    model = sv.load(NETWORK, seed=1)
    x = np.zeros((1, 1, 28, 28), np.float32)
    y = model(x)
    kinds = {
        "Rust": of_rust,
        "m(x, out=y)": lambda: of_python(lambda: model(x, out=y)),
        "m(x)": lambda: of_python(lambda: model(x)),
        "nothing": lambda: of_python(lambda: None),
    }
    found = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, measure in kinds.items():
            found[name].append(measure())
    for name, figures in found.items():
        fastest, median = (min(column) for column in zip(*figures, strict=True))
        print(f"{name:<12} fastest {fastest:6.2f} us, median {median:6.2f} us")


if __name__ == "__main__":
    main()
