#!/usr/bin/env python3
"""Server CPU per command on the wire, all goals in one table: redis-server and kedis server side by side, in one run.

The load is redis-benchmark's (cases/wire.py), the figures are those of data-types.py: medians over the rounds in which
the servers take turns, the kernel's part, the ratio, and whether it is what was wanted. Once for each transport.

    Benchmarks/wire.py [--transports io_uring,epoll] [--only REGEX] [--rounds 3] [--scale 1] [--json FILE]

It needs Linux, redis-server and redis-benchmark on the path, and a release build of kedis.
"""
import argparse
import re
import sys

sys.dont_write_bytecode = True
import comparison  # noqa: E402
from cases import wire  # noqa: E402
from servers import add_kedis_option, require  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_kedis_option(parser)
    parser.add_argument("--transports", type=lambda text: text.split(","), default=["io_uring", "epoll"])
    parser.add_argument("--only", type=re.compile, default="", help="rows whose `section: name` this pattern finds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of requests")
    parser.add_argument("--threads", type=int, default=1, help="event loops of kedis server; 0 for its default")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    require(options.kedis, ["redis-server", "redis-benchmark"])
    rows = []
    for options.transport in options.transports:
        rows += comparison.run([wire.section(options.scale, options.transport)], options)
    if options.json:
        comparison.save(options.json, rows, options)
    missed = [row["name"] for row in rows if row["wanted"] is not None and round(row["ratio"], 2) > row["wanted"]]
    print("all met" if not missed else f"not met: {', '.join(missed)}")


if __name__ == "__main__":
    main()
