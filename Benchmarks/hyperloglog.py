#!/usr/bin/env python3
"""Server CPU of the HyperLogLog commands: redis-server and kedis server side by side, in one run.

What is measured is the time that the server's threads spent on processors, user and system, over the number of
requests. Requests go over one connection in pipelines of 16, made beforehand. Servers take turns within each round, and
the table shows medians over the rounds. At the end both must hold the same bytes.

    Benchmarks/hyperloglog.py [--rounds 5] [--scale 1]

It needs Linux, redis-server on the path, and a release build of kedis.
"""
import argparse
import statistics
import sys

sys.dont_write_bytecode = True
from servers import Server, add_kedis_option, encode, kedis_command, redis_command, require  # noqa: E402

PIPELINE = 16
KEYS = 100


def cases():
    """Name, number of requests, and the function that makes request number `index` of a round."""
    dense = [f"dense:{index}" for index in range(KEYS)]
    sparse = [f"sparse:{index}" for index in range(KEYS)]

    def elements(number, index, count):
        return [f"element:{number}:{index}:{one}" for one in range(count)]

    def count(round_number, index):
        # What PFADD changes in between is not kept as an estimate: the odd requests count.
        key = dense[index // 2 % KEYS]
        return ["PFCOUNT", key] if index % 2 else ["SETRANGE", key, 15, b"\x80"]

    return [
        ("PFADD, new small keys", 40_000, lambda r, i: ["PFADD", f"new:{r}:{i}", "a", "b", "c"]),
        ("PFADD, sparse of 1,000 elements", 40_000, lambda r, i: ["PFADD", sparse[i % KEYS]] + elements(0, i // KEYS % 1000, 1)),
        ("PFADD, dense, one element", 80_000, lambda r, i: ["PFADD", dense[i % KEYS]] + elements(r, i, 1)),
        ("PFADD, dense, 100 elements", 8_000, lambda r, i: ["PFADD", dense[i % KEYS]] + elements(r, i, 100)),
        ("PFCOUNT, kept estimate", 80_000, lambda r, i: ["PFCOUNT", sparse[i % KEYS]]),
        ("PFCOUNT, dense, changed before (SETRANGE too)", 40_000, count),
        ("PFCOUNT of 100, dense", 500, lambda r, i: ["PFCOUNT"] + dense),
        ("PFMERGE of 100, dense", 500, lambda r, i: ["PFMERGE", "merged"] + dense),
        ("PFMERGE of 100, sparse", 500, lambda r, i: ["PFMERGE", f"merged:{r}:{i}"] + sparse),
    ]


def fill(server):
    with server.connect() as connection:
        for key in range(KEYS):
            for part in range(10):
                names = [f"dense:{key}:{part}:{one}" for one in range(1000)]
                connection.command("PFADD", f"dense:{key}", *names)
            # The same elements in all of them, so that the merged one stays sparse.
            connection.command("PFADD", f"sparse:{key}", *[f"element:0:{one}:0" for one in range(1000) if one % 7 != key % 7])


def measure(server, requests):
    """Microseconds of server CPU for each of `requests`."""
    with server.connect() as connection:
        before = server.cpu_seconds()
        for first in range(0, len(requests), PIPELINE):
            batch = requests[first:first + PIPELINE]
            connection.socket.sendall(b"".join(batch))
            for _ in batch:
                connection.reply()
        return (server.cpu_seconds() - before) / len(requests) * 1e6


def compare(servers):
    keys = ["merged"] + [f"{kind}:{index}" for kind in ("dense", "sparse") for index in range(KEYS)]
    for key in keys:
        values = []
        for server in servers:
            with server.connect() as connection:
                values.append(connection.command("GET", key))
        if values[0] != values[1]:
            sys.exit(f"{key} differs between the servers")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_kedis_option(parser)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of requests")
    options = parser.parse_args()
    require(options.kedis, ["redis-server"])
    servers = [Server("redis-server", redis_command()), Server("kedis server", kedis_command(options.kedis, options.threads))]
    try:
        for server in servers:
            fill(server)
        print(f"{'':<48} {'redis us':>10} {'kedis us':>10} {'ratio':>7}")
        table = cases()
        for name, count, make in table:
            samples = ([], [])
            for number in range(options.rounds):
                requests = [encode(*make(number, index)) for index in range(max(PIPELINE, int(count * options.scale)))]
                for server, own in zip(servers, samples):
                    own.append(measure(server, requests))
            redis, kedis = (statistics.median(one) for one in samples)
            ratio = f"{kedis / redis:.2f}" if redis else "-"
            print(f"{name:<48} {redis:>10.2f} {kedis:>10.2f} {ratio:>7}", flush=True)
        compare(servers)
    finally:
        for server in servers:
            server.stop()


if __name__ == "__main__":
    main()
