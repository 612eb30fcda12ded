#!/usr/bin/env python3
"""Hashes, sets, lists and streams: redis-server and kedis server side by side, in one run.

Resident memory of one collection of 1 M elements (members, fields and values of 16 bytes) and of 100,000 of 10, and the
CPU that a server takes for a command (user and system, from /proc), sent in pipelines of 16 by one connection.
Sorted sets have a page of their own: sorted-sets.py.

    Benchmarks/data-types.py [--kedis PATH] [--elements 1000000] [--commands 200000]

It needs Linux, redis-server on the path, and a release build of kedis.
"""
import argparse
import random
import sys
import time

sys.dont_write_bytecode = True
from servers import Pipe, Server, add_kedis_option, encode, kedis_command, redis_command, require  # noqa: E402

SMALL_COUNT = 100_000


def element(index):
    return b"element:%08d" % index


def value(index):
    return b"value:%010d" % index


# By type: the command, and what an element takes as arguments.
TYPES = {
    "hash": ("HSET", lambda index: [element(index), value(index)]),
    "set": ("SADD", lambda index: [element(index)]),
    "list": ("RPUSH", lambda index: [element(index)]),
}


def fill(name, key, indices):
    if name == "stream":
        return [encode("XADD", key, "*", element(index), value(index)) for index in indices]
    command, arguments = TYPES[name]
    requests = []
    for start in range(0, len(indices), 50):
        words = [command, key]
        for index in indices[start:start + 50]:
            words += arguments(index)
        requests.append(encode(*words))
    return requests


def resident(server, make):
    """The growth of resident memory by these requests, after a pause for the background."""
    pipe = Pipe(server)
    pipe.send([encode("SADD", "warm", "a"), encode("DEL", "warm")])
    time.sleep(0.5)
    empty = server.resident_bytes()
    pipe.send(make())
    time.sleep(2)
    return server.resident_bytes() - empty


def memory(start, count):
    results = {}
    for name in ["hash", "set", "list", "stream"]:
        order = list(range(count))
        if name != "list":
            random.Random(1).shuffle(order)
        with start() as server:
            results[f"{name}, 1 M: bytes an element"] = resident(server, lambda: fill(name, "k", order)) / count
        if name == "stream":
            continue
        with start() as server:
            requests = lambda: [  # noqa: E731
                request for key in range(SMALL_COUNT)
                for request in fill(name, b"key:%08d" % key, range(key, key + 10))]
            results[f"{name} of 10: bytes"] = resident(server, requests) / SMALL_COUNT
    return results


def commands(start, count, generator):
    results = {}
    pick = lambda: b"element:%012d" % generator.randrange(100_000)  # noqa: E731
    loads = [
        ("SADD, 100,000", lambda: ["SADD", "s", pick()], 1),
        ("SPOP", lambda: ["SPOP", "s"], 0.4),
        ("HSET, 100,000", lambda: ["HSET", "h", pick(), "xxx"], 1),
        ("HGET", lambda: ["HGET", "h", pick()], 1),
        ("LPUSH", lambda: ["LPUSH", "l", "xxx"], 1),
        ("RPUSH", lambda: ["RPUSH", "l", "xxx"], 1),
        ("LPOP", lambda: ["LPOP", "l"], 0.5),
        ("RPOP", lambda: ["RPOP", "l"], 0.5),
        ("LRANGE_100", lambda: ["LRANGE", "l", 0, 99], 0.2),
        ("LRANGE_300", lambda: ["LRANGE", "l", 0, 299], 0.1),
        ("LRANGE_600", lambda: ["LRANGE", "l", 0, 599], 0.05),
        ("MSET (10 keys)", lambda: ["MSET"] + [word for _ in range(10) for word in (pick(), "xxx")], 0.3),
        ("XADD", lambda: ["XADD", "x", "*", "field", "xxx"], 1),
        ("XRANGE of 10", lambda: ["XRANGE", "x", "-", "+", "COUNT", 10], 0.3),
    ]
    with start() as server:
        pipe = Pipe(server)
        for name, make, share in loads:
            results[f"{name}: µs"] = pipe.cost([encode(*make()) for _ in range(int(count * share))])
        for key, offset in [("a", 0), ("b", 50_000)]:
            pipe.send(fill("set", key, range(offset, offset + 100_000)))
        pipe.send(fill("list", "numbers", [0]))
        numbers = [generator.randrange(1 << 40) for _ in range(100_000)]
        pipe.send([encode("DEL", "numbers")])
        pipe.send([encode("RPUSH", "numbers", *numbers[first:first + 50]) for first in range(0, len(numbers), 50)])
        results["SINTERCARD of 2 x 100,000: µs"] = pipe.cost([encode("SINTERCARD", 2, "a", "b")] * 40)
        results["SINTER of 2 x 100,000: µs"] = pipe.cost([encode("SINTERSTORE", "c", "a", "b")] * 40)
        results["SORT of 100,000: µs"] = pipe.cost([encode("SORT", "numbers", "LIMIT", 0, 10)] * 40)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_kedis_option(parser)
    parser.add_argument("--elements", type=int, default=1_000_000)
    parser.add_argument("--commands", type=int, default=200_000)
    options = parser.parse_args()
    require(options.kedis, ["redis-server"])
    rows = []
    for name, command in [("redis", redis_command()), ("kedis", kedis_command(options.kedis))]:
        def start():
            return Server(name, command)
        results = memory(start, options.elements)
        results.update(commands(start, options.commands, random.Random(1)))
        rows.append(results)
    print(f"{'':34} {'redis':>10} {'kedis':>10} {'ratio':>6}")
    for name in rows[0]:
        print(f"{name:34} {rows[0][name]:10.2f} {rows[1][name]:10.2f} {rows[1][name] / rows[0][name]:6.2f}")


if __name__ == "__main__":
    main()
