#!/usr/bin/env python3
"""What observability costs: kedis server as it starts, and with all of it off, side by side in one run.

The load is that of server-cpu.py (GET and SET, pipelines of 1 and 16, 50 connections, 32-byte values), in many short
rounds in which the servers take turns, first one then the other. What is compared is the server's CPU time per command
from /proc/PID/stat; a round gives one ratio for each load, and the table shows their median and quartiles.

    Benchmarks/observability.py [--threads 1] [--rounds 15] [--keys 1000000] [--json FILE]

It needs Linux, redis-benchmark on the path, and a release build of kedis.
"""
import argparse
import json
import statistics
import sys

sys.dont_write_bytecode = True
from servers import Server, add_kedis_option, kedis_command, preload_strings, redis_benchmark  # noqa: E402

CONNECTIONS = 50
VALUE_BYTES = 32
OFF = ["--latency-tracking", "no", "--latency-stages", "no", "--hotkeys-top-k", "0", "--bigkeys-top-k", "0",
       "--slowlog-log-slower-than", "-1"]


def measure(server, command, pipeline, requests, keys):
    """Microseconds of server CPU per command."""
    before = server.cpu()
    redis_benchmark(server, ["-t", command], requests, keys, CONNECTIONS, pipeline, VALUE_BYTES)
    return server.cpu().since(before).per(requests)[0]


def run(options):
    kedis = kedis_command(options.kedis, options.threads)
    rows = []
    with Server("as it starts", kedis) as on, Server("off", kedis + OFF) as off:
        for server in (on, off):
            preload_strings(server, options.keys, VALUE_BYTES)
        for pipeline, requests in ((1, 200_000), (16, 1_500_000)):
            for command in ("set", "get"):
                samples = {on: [], off: []}
                for number in range(options.rounds):
                    # Whoever comes first in a round meets what the one before left: so they change places.
                    for server in (on, off) if number % 2 == 0 else (off, on):
                        samples[server].append(
                            measure(server, command, pipeline, int(requests * options.scale), options.keys))
                ratios = [one / other for one, other in zip(samples[on], samples[off])]
                low, middle, high = statistics.quantiles(ratios, n=4)
                rows.append({
                    "pipeline": pipeline, "command": command.upper(), "on_us": statistics.median(samples[on]),
                    "off_us": statistics.median(samples[off]), "ratio": middle, "low": low, "high": high,
                })
                row = rows[-1]
                print(f"P={pipeline:<3} {row['command']}  on {row['on_us']:.3f} µs  off {row['off_us']:.3f} µs  "
                      f"ratio {middle:.3f} (quartiles {low:.3f} to {high:.3f})", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_kedis_option(parser)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of requests")
    parser.add_argument("--json", help="write the figures to this file")
    options = parser.parse_args()
    rows = run(options)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
