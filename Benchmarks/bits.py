#!/usr/bin/env python3
"""Server CPU of commands on long runs of bits: redis-server and kedis server side by side, in one run.

BITCOUNT, BITPOS and BITOP on strings of 10 MB of random bytes, one command at a time over one connection. What is
measured is the time that the server's threads spent on processors, user and system, per command. Servers take turns
within each round, and the table shows medians over the rounds.

    Benchmarks/bits.py [--rounds 5] [--bytes 10000000] [--commands 200]

It needs Linux, redis-server on the path, and a release build of kedis.
"""
import argparse
import random
import statistics
import sys

sys.dont_write_bytecode = True
from servers import Server, add_kedis_option, kedis_command, redis_command, require  # noqa: E402

LOADS = [
    ("BITCOUNT", ["BITCOUNT", "a"]),
    ("BITCOUNT 1 -2 BIT", ["BITCOUNT", "a", "1", "-2", "BIT"]),
    ("BITPOS 1, zeroes", ["BITPOS", "zeroes", "1"]),
    ("BITOP AND, 2 sources", ["BITOP", "AND", "result", "a", "b"]),
    ("BITOP OR, 4 sources", ["BITOP", "OR", "result", "a", "b", "c", "d"]),
    ("BITOP XOR, into a source", ["BITOP", "XOR", "a", "a", "b"]),
    ("BITOP NOT", ["BITOP", "NOT", "result", "a"]),
]


def fill(server, byte_count):
    """Four strings of random bytes and one of zeroes."""
    generator = random.Random(1)
    with server.connect() as connection:
        for name in ("a", "b", "c", "d"):
            connection.command("SET", name, generator.randbytes(byte_count))
        connection.command("SET", "zeroes", bytes(byte_count))


def measure(server, command, count):
    """Microseconds of server CPU per command."""
    with server.connect() as connection:
        connection.command(*command)
        before = server.cpu_seconds()
        for _ in range(count):
            connection.command(*command)
        return (server.cpu_seconds() - before) / count * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_kedis_option(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bytes", type=int, default=10_000_000)
    parser.add_argument("--commands", type=int, default=200, help="commands in a round")
    options = parser.parse_args()
    require(options.kedis, ["redis-server"])
    with Server("redis-server", redis_command()) as redis, Server("kedis", kedis_command(options.kedis)) as kedis:
        servers = [redis, kedis]
        for server in servers:
            fill(server, options.bytes)
        print(f"{'command':<26} {'redis us':>10} {'kedis us':>10} {'ratio':>7}")
        for name, command in LOADS:
            samples = {server.name: [] for server in servers}
            for _ in range(options.rounds):
                for server in servers:
                    samples[server.name].append(measure(server, command, options.commands))
            theirs, ours = (statistics.median(samples[server.name]) for server in servers)
            print(f"{name:<26} {theirs:>10.0f} {ours:>10.0f} {ours / theirs:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
