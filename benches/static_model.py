"""What a model of a CPU's pipes says of the loops of tiles: LLVM's machine code analyser, on the emitted bytes.

    apt install llvm-19
    svertka compile models/resnet.cnn:resnet50 --random-weights --cpu aarch64-generic -o out --emit obj
    python benches/static_model.py out/resnet50.o --cpu neoverse-n1 --cpu neoverse-v2

Each innermost loop with multiply-adds is a line: how many it has of a vector, how many instructions there are beside them, the
cycles that a turn takes once it is under way, and multiply-adds in a cycle. Loads are taken to hit the first-level cache.
"""

import argparse
import collections
import re
import subprocess

LINE = re.compile(r"^\s*([0-9a-f]+):\s+(\S.*)$")
NAME = re.compile(r"^[0-9a-f]+ <(.+)>:$")
TARGET = re.compile(r"\b0x([0-9a-f]+)\b(?: <[^>]*>)?$")
MULTIPLY_ADD = re.compile(r"^(fmla|vfmadd|vpdp|vpmadd|[su]mlal)")
BRANCH = re.compile(r"^(j[a-z]+|b|b\.\w+|cbn?z|tbn?z)\s")


def output(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout


def functions(llvm, path):
    """Names, each with addresses and instructions."""
    found = collections.OrderedDict()
    options = ["--disassemble", "--no-show-raw-insn", "--x86-asm-syntax=intel"]
    for line in output(f"llvm-objdump{llvm}", *options, path).splitlines():
        if name := NAME.match(line):
            own = found.setdefault(name[1], [])
        elif instruction := LINE.match(line):
            own.append((int(instruction[1], 16), re.split(r" (?://|#) ", instruction[2])[0].strip()))
    return found


def loops(instructions):
    """Innermost loops: from the target of a branch that leads back to the branch itself, without the branches between."""
    ends = []
    for index, (address, text) in enumerate(instructions):
        target = TARGET.search(text) if BRANCH.match(text) else None
        if target and int(target[1], 16) <= address:
            ends.append((int(target[1], 16), index))
    for start, end in ends:
        body = [(address, text) for address, text in instructions[: end + 1] if address >= start]
        body = taken(body)
        inside = [other for other in ends if other != (start, end) and start <= instructions[other[1]][0] and other[1] < end]
        if not inside:
            yield [text for _, text in body]


def taken(body):
    """Without what branches that lead forward pass over: sums that are put away once in 512 products."""
    kept, until = [], 0
    for address, text in body:
        if address >= until:
            kept.append((address, text))
            target = TARGET.search(text) if BRANCH.match(text) else None
            until = int(target[1], 16) if target and address < int(target[1], 16) <= body[-1][0] else until
    return kept


def cycles(llvm, cpu, triple, body):
    """Of a turn."""
    arm = "aarch64" in triple
    straight = [text for text in body if not BRANCH.match(text)]
    # Of all branches the one that leads back is what the loop cannot be without.
    lines = ([] if arm else [".intel_syntax noprefix"]) + straight + ["b.ne 0" if arm else "jne behind"]
    code = "\n".join(lines) + "\n"
    said = output(f"llvm-mca{llvm}", f"-mtriple={triple}", f"-mcpu={cpu}", "-iterations=200", input=code)
    return int(re.search(r"Total Cycles:\s+(\d+)", said)[1]) / 200


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("objects", nargs="+")
    parser.add_argument("--cpu", action="append", required=True, help="as LLVM calls it; may be given several times")
    parser.add_argument("--llvm", default="-19", help="what is behind the names of LLVM's programs")
    options = parser.parse_args()
    for path in options.objects:
        triple = "aarch64" if "aarch64" in output(f"llvm-objdump{options.llvm}", "-f", path) else "x86_64"
        seen = collections.OrderedDict()
        for name, instructions in functions(options.llvm, path).items():
            for body in loops(instructions):
                if any(MULTIPLY_ADD.match(text) for text in body):
                    seen.setdefault(tuple(body), name)
        print(f"| {path} | multiply-adds | others |", " | ".join(f"{cpu}: cycles | a cycle" for cpu in options.cpu), "|")
        print("| --- | ---: | ---: |" + " ---: | ---: |" * len(options.cpu))
        for body, name in seen.items():
            count = sum(bool(MULTIPLY_ADD.match(text)) for text in body)
            cells = [name, str(count), str(len(body) - count)]
            for cpu in options.cpu:
                turn = cycles(options.llvm, cpu, triple, list(body))
                cells += [f"{turn:.1f}", f"{count / turn:.2f}"]
            print("|", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
