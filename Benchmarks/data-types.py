#!/usr/bin/env python3
"""All data types: redis-server and kedis server side by side, in one run and one table.

    processor time  redis-benchmark's loads; commands on a large sorted set, on whole sets and lists, on long runs of
                    bits, on HyperLogLogs
    memory          one collection of 1 M elements, and 100,000 of 10

Each row has the medians over the rounds in which the servers take turns, the kernel's part of the processor time, the
ratio, and whether it is what was wanted. The cases are in the folder of that name.

    Benchmarks/data-types.py [--only REGEX] [--rounds 3] [--scale 1] [--json FILE]

It needs Linux, redis-server and redis-benchmark on the path, and a release build of kedis.
"""
import argparse
import sys

sys.dont_write_bytecode = True
import comparison  # noqa: E402
from cases import algebra, bits, commands, hyperloglogs, memory, sorted_sets  # noqa: E402
from servers import require  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    comparison.add_options(parser)
    parser.add_argument("--elements", type=int, default=1_000_000, help="in a large collection")
    options = parser.parse_args()
    require(options.kedis, ["redis-server", "redis-benchmark"])
    sections = [
        commands.section(options.scale), sorted_sets.section(options.scale, options.elements),
        memory.section(options.elements), algebra.section(options.scale), bits.section(options.scale),
        hyperloglogs.section(options.scale),
    ]
    rows = comparison.run(sections, options)
    comparison.finish(rows, options)


if __name__ == "__main__":
    main()
