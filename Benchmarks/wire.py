#!/usr/bin/env python3
"""Server CPU per command on the wire, all goals in one table: redis-server and kedis server side by side, in one run.

The load is redis-benchmark's (cases/wire.py), the figures are those of data-types.py: medians over the rounds in which
the servers take turns, the kernel's part, the ratio, and whether it is what was wanted. Once for each transport.

    Benchmarks/wire.py [--transports io_uring,epoll] [--only REGEX] [--rounds 3] [--scale 1] [--json FILE]

It needs Linux, redis-server and redis-benchmark on the path, and a release build of kedis.
"""
import argparse
import sys

sys.dont_write_bytecode = True
import comparison  # noqa: E402
from cases import wire  # noqa: E402
from servers import require  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    comparison.add_options(parser)
    parser.add_argument("--transports", type=lambda text: text.split(","), default=["io_uring", "epoll"])
    options = parser.parse_args()
    require(options.kedis, ["redis-server", "redis-benchmark"])
    rows = []
    for options.transport in options.transports:
        rows += comparison.run([wire.section(options.scale, options.transport)], options)
    comparison.finish(rows, options)


if __name__ == "__main__":
    main()
