"""What a model adds to the memory of processes that share its packed weights."""

import subprocess
import sys
from pathlib import Path

import pytest

PROCESSES = 4
MEGABYTE = 1_000_000
# ResNet-50 has 25.6 million parameters (He et al., 2015). How much more their packed form takes depends on the kernels
# that are chosen, and so on the CPU: a 3x3 convolution of Winograd's form has 12 numbers and more for 9 weights.
PARAMETERS = 25_557_032

PROGRAM = """
import sys
import numpy as np
import svertka as sv

def step():
    print(flush=True)
    sys.stdin.readline()

x = np.zeros((1, 3, 224, 224), np.float32)
step()
m = sv.load("zoo:resnet50", seed=1, packed=sys.argv[1])
y = m(x)
step()
"""


class Process:
    def __init__(self, folder):
        command = [sys.executable, "-c", PROGRAM, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def reached(self):
        """Waits for the next step, of which there are two."""
        assert self.process.stdout.readline(), "it ended before"
        return self

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def own(self):
        """Bytes that no other process has."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
def test_four_processes_hold_packed_weights_once(tmp_path):
    processes = [Process(tmp_path) for _ in range(PROCESSES)]
    try:
        before = [process.reached().own() for process in processes]
        # The first packs, the others find what it packed.
        for process in processes:
            process.go_on()
            process.reached()
        added = [process.own() - owned for process, owned in zip(processes, before, strict=True)]
    finally:
        for process in processes:
            process.process.kill()
            process.process.wait()
    [packed] = tmp_path.iterdir()
    # Were it less, the processes would hold less than the weights, and what they add would say nothing.
    assert packed.stat().st_size > 4 * PARAMETERS
    print([f"{bytes_ / MEGABYTE:.1f} MB" for bytes_ in added])
    first, *others = added
    # Code and values, and what the allocator keeps for the two threads of the start: 9 to 22 MB.
    assert max(others) < 25 * MEGABYTE
    # It keeps as much as the largest weights beside, which were there while they were packed: 18 to 30 MB.
    assert first < 45 * MEGABYTE
