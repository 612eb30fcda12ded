#!/usr/bin/env python3
"""Sorted sets: redis-server and kedis server side by side, in one run.

Resident memory of one sorted set of 1 M members of 16 bytes and of 100,000 of 10 members, and the CPU that a server
takes for a command (user and system, from /proc), sent in pipelines of 16 by one connection.

    Benchmarks/sorted-sets.py [--kedis PATH] [--members 1000000] [--commands 200000]

It needs Linux, redis-server on the path, and a release build of kedis.
"""
import argparse
import random
import sys
import time

sys.dont_write_bytecode = True
from servers import Pipe, Server, add_kedis_option, encode, kedis_command, redis_command, require  # noqa: E402

def member(index):
    return b"member:%09d" % index


def one_large(server, count, commands, generator):
    """Bytes a member, then microseconds a command."""
    pipe = Pipe(server)
    pipe.send([encode(*["ZADD", "z", 1, "a"]), encode(*["DEL", "z"])])
    time.sleep(0.5)
    empty = server.resident_bytes()
    order = list(range(count))
    generator.shuffle(order)
    before = pipe.cpu_seconds()
    requests = []
    for start in range(0, count, 50):
        words = ["ZADD", "z"]
        for index in order[start:start + 50]:
            words += [generator.randrange(1 << 30), member(index)]
        requests.append(encode(*words))
    pipe.send(requests)
    results = {"fill, a member": (pipe.cpu_seconds() - before) / count * 1e6}
    time.sleep(2)
    results["bytes a member"] = (server.resident_bytes() - empty) / count
    pick = lambda: member(generator.randrange(count))  # noqa: E731
    def range_by_score():
        low = generator.randrange(1 << 30)
        return ["ZRANGE", "z", low, low + (1 << 30) * 10 // count, "BYSCORE"]
    def range_by_rank():
        low = generator.randrange(count - 10)
        return ["ZRANGE", "z", low, low + 9]
    loads = {
        "ZRANK": lambda: ["ZRANK", "z", pick()],
        "ZSCORE": lambda: ["ZSCORE", "z", pick()],
        "ZRANGE 10 by rank": range_by_rank,
        "ZRANGE 10 by score": range_by_score,
        "ZADD update": lambda: ["ZADD", "z", generator.randrange(1 << 30), pick()],
        "ZADD new": lambda: ["ZADD", "z", generator.randrange(1 << 30), b"new:%d" % generator.randrange(1 << 60)],
        "ZPOPMIN": lambda: ["ZPOPMIN", "z"],
    }
    for name, make in loads.items():
        results[name] = pipe.cost([encode(*make()) for _ in range(commands)])
    return results


def many_small(server, count):
    pipe = Pipe(server)
    pipe.send([encode(*["ZADD", "z", 1, "a"]), encode(*["DEL", "z"])])
    time.sleep(0.5)
    empty = server.resident_bytes()
    requests = []
    for key in range(count):
        words = ["ZADD", b"key:%012d" % key]
        for index in range(10):
            words += [index * 7 % 10 + key, member(index)]
        requests.append(encode(*words))
    pipe.send(requests)
    time.sleep(2)
    return {"bytes of 10 members": (server.resident_bytes() - empty) / count}


def benchmark_like(server, commands, generator):
    """What redis-benchmark sends: one key with random members."""
    pipe = Pipe(server)
    adds = [encode(*["ZADD", "s", generator.randrange(100000), b"element:%012d" % generator.randrange(100000)])
            for _ in range(commands)]
    return {"ZADD, 100,000": pipe.cost(adds), "ZPOPMIN, 100,000": pipe.cost([encode(*["ZPOPMIN", "s"])] * 80000)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_kedis_option(parser)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--commands", type=int, default=200_000)
    options = parser.parse_args()
    require(options.kedis, ["redis-server"])
    rows = []
    for name, command in [("redis", redis_command()), ("kedis", kedis_command(options.kedis))]:
        results = {}
        with Server(name, command) as server:
            results.update(one_large(server, options.members, options.commands, random.Random(1)))
        with Server(name, command) as server:
            results.update(many_small(server, 100_000))
        with Server(name, command) as server:
            results.update(benchmark_like(server, options.commands, random.Random(1)))
        rows.append(results)
    print(f"{'':24} {'redis':>9} {'kedis':>9} {'ratio':>6}")
    for name in rows[0]:
        print(f"{name:24} {rows[0][name]:9.2f} {rows[1][name]:9.2f} {rows[1][name] / rows[0][name]:6.2f}")


if __name__ == "__main__":
    main()
