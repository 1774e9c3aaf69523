"""svertka beside PyTorch, its compiler and ONNX Runtime, as a Python program calls them: all in one process, in turn.

    pip install . torch torchvision onnx onnxscript onnxruntime
    python benches/from_python.py [--threads 1] [--rounds 30] [--networks resnet18 ...]

Weights are random and the same for all; an engine whose outputs are not within 1e-3 of PyTorch's is no row of the table.
In a round each engine has its turn of at least `--burst` seconds, begun by a call that does not count, in another order each
time; its figure is its fastest call of all rounds, which is what the least of the machine's other load came between. PyTorch's
threads sleep between its turns, ONNX Runtime's do not spin. `--threads 2` needs two idle cores.
"""

import argparse
import io
import logging
import math
import random
import time
import warnings

import numpy as np
import onnxruntime
import torch
import torchvision

import svertka as sv

NETWORKS = ["resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0"]
ENGINES = ["svertka", "PyTorch", "inductor", "ONNX Runtime"]
TOLERANCE = 1e-3


def network(name):
    """As torchvision has it, with random weights and statistics."""
    torch.manual_seed(0)
    module = getattr(torchvision.models, name)(weights=None).eval()
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.9, 1.1)
    return module


def engines(module, x, threads):
    """By name, functions from nothing to the scores, as arrays of NumPy."""
    array = x.numpy()

    model = sv.from_torch(module, x).compile(threads=threads)
    # Options of this compiler that are known to help on CPUs; the graph is that of inference, with the weights in it.
    inductor = torch.compile(module, backend="inductor", options={"freezing": True, "max_autotune": False})

    file = io.BytesIO()
    torch.onnx.export(module, (x,), file, dynamo=False, opset_version=17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    [entry] = session.get_inputs()

    calls = [
        lambda: model(array),
        lambda: module(x).numpy(),
        lambda: inductor(x).numpy(),
        lambda: session.run(None, {entry.name: array})[0],
    ]
    return dict(zip(ENGINES, calls, strict=True))


def agreeing(calls):
    """Those whose scores are PyTorch's; each has been called then."""
    scores = {name: np.array(call()) for name, call in calls.items()}
    reference = scores["PyTorch"]
    differences = {name: float(np.abs(found - reference).max() / np.abs(reference).max()) for name, found in scores.items()}
    for name, difference in differences.items():
        if not difference <= TOLERANCE:
            print(f"{name} differs by {difference:.1e} of the largest score and is left out")
    return {name: call for name, call in calls.items() if differences[name] <= TOLERANCE}


def fastest(calls, rounds, burst):
    """Seconds of the fastest call of each."""
    best, order = dict.fromkeys(calls, math.inf), list(calls)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            call = calls[name]
            call()
            end = time.perf_counter() + burst
            while (start := time.perf_counter()) < end:
                call()
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--burst", type=float, default=0.5, help="seconds of a turn")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="as torchvision names them")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(arguments.threads)

    with torch.inference_mode():
        table(arguments)


def table(arguments):
    """Prints a line for each network as soon as it is measured."""
    x, ratios = torch.randn(1, 3, 224, 224), []
    print(f"| {arguments.threads} thread{'s' * (arguments.threads > 1)}, ms | {' | '.join(ENGINES)} | svertka / fastest |")
    print(f"| --- {'| ---: ' * (len(ENGINES) + 1)}|")
    for name in arguments.networks:
        calls = agreeing(engines(network(name), x, arguments.threads))
        best = fastest(calls, arguments.rounds, arguments.burst)
        least = min(seconds for engine, seconds in best.items() if engine != "svertka")
        times = {engine: f"{1e3 * seconds:.1f}" for engine, seconds in best.items()}
        times |= {engine: f"**{times[engine]}**" for engine, seconds in best.items() if seconds == least}
        ratios.append(best.get("svertka", math.nan) / least)
        print(f"| {name} | {' | '.join(times.get(engine, '-') for engine in ENGINES)} | {ratios[-1]:.2f} |", flush=True)
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"| geometric mean {'| ' * len(ENGINES)}| {mean:.2f} |")


if __name__ == "__main__":
    main()
