#!/usr/bin/env python3
"""Instructions of a command, from request bytes to reply bytes, without a network: the same in each run.

`kedis-benchmark command` runs under callgrind, which counts what is executed within the session. Unlike times, these
figures do not depend on the machine's other work, so one that grows is the change's.

    swift build -c release --product kedis-benchmark
    Benchmarks/instructions.py [--check docs/PERFORMANCE.md]

With --check each figure is compared with the table of the same name in that file: more than 3 % above it is an error.
It needs valgrind and strip. Figures depend on the compiler and the C library (here Swift 6.3.1 and Debian 12, x86-64).
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

# How to make the store, and the command.
CASES = {
    "GET": (["SET key:__next_int__ value"], "GET key:__rand_int__"),
    "SET": (["SET key:__next_int__ value"], "SET key:__rand_int__ value"),
    "INCR": (["SET key:__next_int__ 1"], "INCR key:__rand_int__"),
    "LPUSH": ([], "LPUSH list element:__rand_int__"),
    "ZADD": (["ZADD sorted __next_int__ element:__next_int__"], "ZADD sorted __rand_int__ element:__rand_int__"),
}
PIPELINES = (1, 16)
KEYSPACE = 2000
COUNTS = (1600, 9600)
GROWTH_MAX = 1.03
# Swift's names of the function that takes what was read, whatever its module adds.
COUNTED = "*7SessionV7receiveyySWF"


def instructions(binary, before, command, pipeline, count):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "callgrind")
        words = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", f"--toggle-collect={COUNTED}", binary,
                 "command", command, "--operations", str(count), "--rounds", "1", "--pipeline", str(pipeline),
                 "--keyspace", str(KEYSPACE)]
        for one in before:
            words += ["--before", one]
        result = subprocess.run(words, capture_output=True, text=True, timeout=300)
        if result.returncode != 0:
            sys.exit(f"kedis-benchmark under valgrind failed:\n{result.stdout}{result.stderr}")
        with open(out) as file:
            total = next((line for line in file if line.startswith(("totals:", "summary:"))), "totals: 0")
    return int(total.split()[1])


def measure(binary, before, command, pipeline):
    """What one more command costs: what comes before is in both counts."""
    few, many = (instructions(binary, before, command, pipeline, count) for count in COUNTS)
    if many <= few:
        sys.exit(f"nothing was counted: is {COUNTED} still the name of what a session receives with?")
    return round((many - few) / (COUNTS[1] - COUNTS[0]))


def table(path):
    """The figures of the table that has a column for each pipeline: {(command, pipeline): instructions}."""
    figures = {}
    with open(path) as file:
        for line in file:
            found = re.fullmatch(r"\| `(\w+)` \| ([\d,]+) \| ([\d,]+) \|", line.strip())
            if found:
                for pipeline, text in zip(PIPELINES, found.groups()[1:]):
                    figures[found.group(1), pipeline] = int(text.replace(",", ""))
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--binary", default=os.path.join(here, "..", ".build", "release", "kedis-benchmark"))
    parser.add_argument("--check", metavar="FILE", help="a file with the table to hold to")
    options = parser.parse_args()
    known = table(options.check) if options.check else {}
    print("| command | P=1 | P=16 |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        binary = os.path.join(folder, "kedis-benchmark")
        # Valgrind 3.19 gives up at the debugging information of this compiler; names of functions stay.
        subprocess.run(["strip", "--strip-debug", "-o", binary, options.binary], check=True)
        grown = compare(binary, known, options.check)
    if grown:
        sys.exit("\n".join(grown))


def compare(binary, known, path):
    """Prints the table; returns a line for each figure that is above that of the file."""
    grown = []
    for name, (before, command) in CASES.items():
        figures = [measure(binary, before, command, pipeline) for pipeline in PIPELINES]
        print(f"| `{name}` | " + " | ".join(f"{figure:,}" for figure in figures) + " |", flush=True)
        for pipeline, figure in zip(PIPELINES, figures):
            limit = known.get((name, pipeline))
            if path and limit is None:
                grown.append(f"{name}, P={pipeline}: {path} has no figure")
            elif path and figure > limit * GROWTH_MAX:
                grown.append(f"{name}, P={pipeline}: {figure:,} instructions, {limit:,} in {path}")
    return grown


if __name__ == "__main__":
    main()
