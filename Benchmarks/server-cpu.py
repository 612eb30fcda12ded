#!/usr/bin/env python3
"""Server CPU per command: redis-server and kedis server side by side, in one run.

The load is redis-benchmark's (GET and SET, pipelines of 1, 16 and 128, 50 connections, 32-byte values, 1 M keys, or
what the options say).
What is measured is the time that the server's threads spent on processors, user and system, from /proc/PID/stat, over
the number of requests: unlike throughput it does not depend on how busy the load generator is. Servers take turns
within each round, and the table shows medians over the rounds.

    Benchmarks/server-cpu.py [--threads 1] [--rounds 3] [--keys 1000000] [--commands set,get] [--connections 50]
                             [--transport epoll|io_uring|nio] [--tls] [--compare-threads 1,2] [--json FILE]

With --tls the load comes over TLS, with certificates made for the run. With --compare-threads the two sides are kedis
server with so many event loops each, instead of redis-server and kedis server.

It needs Linux, redis-server and redis-benchmark on the path, and a release build of kedis.
"""
import argparse
import json
import os
import platform
import statistics
import sys
import time

sys.dont_write_bytecode = True
from servers import (  # noqa: E402
    Encryption, Server, add_kedis_option, kedis_command, preload_strings, redis_benchmark, redis_command, require,
)

VALUE_BYTES = 32


def measure(server, command, pipeline, requests, options):
    """Microseconds of server CPU per command, and commands per second."""
    before = server.cpu()
    duration = redis_benchmark(
        server, ["-t", command], requests, options.keys, options.connections, pipeline, VALUE_BYTES)
    return server.cpu().since(before).per(requests)[0], requests / duration


def run(options):
    transport = ["--transport", options.transport]
    sides = [("redis-server", redis_command()),
             ("kedis server", kedis_command(options.kedis, options.threads) + transport)]
    if options.compare_threads:
        sides = [(f"threads {count}", kedis_command(options.kedis, count) + transport)
                 for count in options.compare_threads]
    encryption = Encryption() if options.tls else None
    servers = []
    rows = []
    try:
        for name, command in sides:
            servers.append(Server(name, command, encryption))
        for server in servers:
            preload_strings(server, options.keys, VALUE_BYTES)
        for pipeline in options.pipelines:
            requests = int((300_000 if pipeline == 1 else 2_000_000) * options.scale)
            samples = {(server.name, command): [] for server in servers for command in options.commands}
            for _ in range(options.rounds):
                for command in options.commands:
                    for server in servers:
                        samples[server.name, command].append(measure(server, command, pipeline, requests, options))
            for command in options.commands:
                rows.append(make_row(pipeline, command, *(samples[server.name, command] for server in servers)))
                show(rows[-1])
        memory = {server.name: server.resident_bytes() for server in servers}
    finally:
        for server in servers:
            server.stop()
        if encryption:
            encryption.remove()
    return rows, memory


def make_row(pipeline, command, first, second):
    """Medians of both sides, and their ratio; the first side is redis-server, or kedis server with fewer threads."""
    first_cpu, second_cpu = (statistics.median(cpu for cpu, _ in one) for one in (first, second))
    return {
        "pipeline": pipeline, "command": command.upper(), "redis_us": first_cpu, "kedis_us": second_cpu,
        "ratio": second_cpu / first_cpu,
        "redis_per_second": statistics.median(rate for _, rate in first),
        "kedis_per_second": statistics.median(rate for _, rate in second),
        "redis_samples_us": [cpu for cpu, _ in first], "kedis_samples_us": [cpu for cpu, _ in second],
    }


def show(row):
    print(
        f"{row['pipeline']:>8} {row['command']:>7} {row['redis_us']:>14.2f} {row['kedis_us']:>14.2f} {row['ratio']:>7.2f}"
        f" {row['redis_per_second']:>12,.0f} {row['kedis_per_second']:>12,.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_kedis_option(parser)
    parser.add_argument("--threads", type=int, default=1, help="event loops of kedis server; 0 for its default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of requests")
    parser.add_argument("--pipelines", type=lambda text: [int(one) for one in text.split(",")], default=[1, 16, 128])
    parser.add_argument("--commands", type=lambda text: text.split(","), default=["set", "get"])
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--transport", default="auto", help="what carries connections of kedis server")
    parser.add_argument("--tls", action="store_true", help="send the load over TLS")
    parser.add_argument("--compare-threads", type=lambda text: [int(one) for one in text.split(",")],
                        help="two numbers of event loops of kedis server, instead of redis-server and kedis server")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    require(options.kedis, ["redis-server", "redis-benchmark"])
    if options.compare_threads and len(options.compare_threads) != 2:
        sys.exit("--compare-threads takes two numbers")
    first, second = (f"{count}-loop" for count in options.compare_threads) if options.compare_threads else ("redis", "kedis")
    print(f"{'pipeline':>8} {'command':>7} {first + ' us/cmd':>14} {second + ' us/cmd':>14} {'ratio':>7} {first + ' /s':>12} {second + ' /s':>12}")
    rows, memory = run(options)
    print("resident after the run: " + ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in memory.items()))
    if options.json:
        with open(options.json, "w") as file:
            json.dump({
                "date": time.strftime("%Y-%m-%d"), "machine": platform.processor() or platform.machine(),
                "cores": os.cpu_count(), "threads": options.compare_threads or options.threads, "tls": options.tls, "keys": options.keys, "connections": options.connections,
                "transport": options.transport,
                "value_bytes": VALUE_BYTES, "resident_bytes": memory, "rows": rows,
            }, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
