"""Measures svertka beside other engines and writes the tables of README.md and benches/results.md anew: those parts of them
between `<!-- tables.py: NAME -->` and `<!-- end -->`.

    cargo build --release --example peer_worker
    python benches/tables.py --driver $PEERS/bench.py --lab $PEERS_LAB

The driver and what it measures are described in benches/README.md. `--only-write` writes the tables from the runs that are
there. A figure counts only where the output agrees with PyTorch's within 1e-3.
"""

import argparse
import datetime
import json
import pathlib
import re
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
OWN = "svertka"
PEERS = {"ncnn": "ncnn", "openvino": "OpenVINO", "ort": "ONNX Runtime", "executorch": "ExecuTorch"}
# What is measured: its name in the tables, its threads, and whether networks of batch 8 are meant.
TABLES = {"1 thread": (1, False), "2 threads": (2, False), "batch 8, 2 threads": (2, True)}


def measure(driver, lab, more):
    python = pathlib.Path(lab, "venv", "bin", "python")
    config, engines = pathlib.Path("benches", "peers.json"), ",".join([OWN, *PEERS])
    command = [python, driver, "--lab", lab, "--config", config, "--engines", engines, "--threads", "1,2", *more]
    subprocess.run(command, check=True, cwd=ROOT)


class Row:
    """The median times of one network, in milliseconds, of the engines whose output is right."""

    def __init__(self, name, engines):
        right = {engine: run for engine, run in engines.items() if run.get("ok") and "ms" in run}
        self.name = name
        self.times = {engine: right[engine]["ms"] for engine in [OWN, *PEERS] if engine in right}
        self.disturbed = {engine for engine in self.times if right[engine].get("dirty")}

    def fastest(self):
        return min((engine for engine in self.times if engine != OWN), key=self.times.get, default=None)

    def ratio(self):
        return self.times[OWN] / self.times[self.fastest()]

    def counts(self):
        return OWN in self.times and self.fastest() is not None

    def cell(self, engine):
        if engine not in self.times:
            return "-"
        time = self.times[engine]
        text = f"{time:.3f}" if time < 1 else f"{time:.1f}"
        text += "~" if engine in self.disturbed else ""
        return f"**{text}**" if engine == self.fastest() else text

    def line(self):
        cells = [self.name, *map(self.cell, [OWN, *PEERS]), f"{self.ratio():.2f}"]
        return f"| {' | '.join(cells)} |"


def rows(lab, threads, batch):
    names = json.loads(pathlib.Path(lab, "models", "models.json").read_text())
    for name in names:
        path = pathlib.Path(lab, "runs", f"{name}.t{threads}.json")
        if name.endswith("_b8") == batch and path.exists():
            row = Row(name, json.loads(path.read_text()))
            if row.counts():
                yield row


def mean(rows):
    return statistics.geometric_mean(row.ratio() for row in rows)


def table(what, rows):
    head = f"| {what}, ms | svertka | {' | '.join(PEERS.values())} | svertka / fastest |"
    rule = "| --- |" + " ---: |" * (len(PEERS) + 2)
    last = f"| geometric mean |{' |' * (len(PEERS) + 1)} {mean(rows):.2f} |"
    return "\n".join([head, rule, *(row.line() for row in rows), last])


def summary(tables):
    head = "| svertka's time / the fastest other engine's | networks | least | most | geometric mean |"
    lines = [head, "| --- | ---: | ---: | ---: | ---: |"]
    for what, rows in tables.items():
        ratios = [row.ratio() for row in rows]
        cells = [what, str(len(ratios)), *(f"{value:.2f}" for value in (min(ratios), max(ratios), mean(rows)))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def processor():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    names = re.findall(r"^model name\s*: (.*)$", text, re.MULTILINE)
    widest = next(isa for flag, isa in (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("", "SSE")) if flag in text)
    return f"{len(names)} cores of an {names[0]} with {widest}" if names else "an unknown processor"


def write(path, name, text):
    """Puts `text` between the marks with this name."""
    whole = path.read_text()
    begin, end = f"<!-- tables.py: {name} -->\n", "<!-- end -->"
    if whole.count(begin) != 1:
        raise SystemExit(f"{path}: {whole.count(begin)} marks {begin.strip()}, not one")
    before, rest = whole.split(begin)
    if end not in rest:
        raise SystemExit(f"{path}: no {end} behind {begin.strip()}")
    path.write_text(before + begin + text + "\n" + rest[rest.index(end):])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driver", help="the program that measures several engines in turn")
    parser.add_argument("--lab", required=True, help="its folder of models and runs")
    parser.add_argument("--only-write", action="store_true", help="write the tables from the runs that are there")
    parser.add_argument("more", nargs="*", help="further arguments of the driver, behind --")
    args = parser.parse_args()
    if not args.only_write:
        if args.driver is None:
            parser.error("--driver says what measures; or --only-write")
        measure(args.driver, args.lab, args.more)
    tables = {what: list(rows(args.lab, *key)) for what, key in TABLES.items()}
    tables = {what: rows for what, rows in tables.items() if rows}
    if not tables:
        raise SystemExit(f"{args.lab}/runs has no network that both svertka and another engine ran")
    day = datetime.date.today()
    text = f"Measured on {day.day} {day:%B %Y} on {processor()}.\n\n"
    write(ROOT / "benches" / "results.md", "peers", text + "\n\n".join(table(*pair) for pair in tables.items()))
    write(ROOT / "README.md", "summary", text + summary(tables))


if __name__ == "__main__":
    main()
