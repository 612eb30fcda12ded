#!/usr/bin/env python3
"""Hit rate of a cache: redis-server and kedis server on the same trace, in one run.

The trace is Zipfian (exponent 0.99) over ten times as many keys as redis-server holds in the memory that is allowed.
A GET that misses is followed by a SET, as a cache is used; the first half of the trace warms up, the second half
counts. Samples, clocks and counters have their defaults.

Two comparisons: `memory`, where both have the same maxmemory (Kedis needs less for a key, so it holds more of them),
and `keys`, the harder test of the choice itself, where Kedis's maxmemory is adjusted during the first half until it
holds as many keys as redis-server.

GETs are sent 32 at a time, then SETs of those that missed: a key that is asked for twice in a batch can miss twice,
on both sides alike.

    Benchmarks/hit-rate.py [--megabytes 16] [--accesses 4000000] [--policies allkeys-lru,allkeys-lfu] [--json]

It needs Linux, redis-server on the path, and a release build of kedis.
"""
import argparse
import array
import itertools
import json
import random
import sys

sys.dont_write_bytecode = True
from servers import Connection, Server, add_kedis_option, kedis_command, redis_command, require  # noqa: E402

EXPONENT = 0.99
BATCH = 32
HIT_BYTES = len(b"$16\r\n") + 16 + 2
GET = b"*2\r\n$3\r\nGET\r\n$16\r\nkey:%012d\r\n"
SET = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$16\r\nval:%012d\r\n"


def make_trace(key_count, accesses, seed):
    """Ranks drawn from a Zipfian distribution; the hash of a key has nothing to do with its rank."""
    weights = list(itertools.accumulate(1 / rank ** EXPONENT for rank in range(1, key_count + 1)))
    drawn = random.Random(seed).choices(range(key_count), cum_weights=weights, k=accesses)
    return array.array("I", drawn)


def held_keys(name, command, memory):
    """How many keys a server holds in `memory`: filled until half as many again had to go."""
    with Server(name, command) as server, server.connect() as connection:
        limit(connection, memory, "allkeys-random")
        first = count = 0
        while first <= 1.5 * count or first == 0:
            if first > 20_000_000:
                sys.exit(f"{name} holds more than {first} keys in {memory} bytes")
            connection.set_all([SET % (index, index) for index in range(first, first + 1000)])
            first += 1000
            count = connection.command("DBSIZE")
        return count


def limit(connection, memory, policy):
    connection.command("CONFIG", "SET", "maxmemory", memory)
    connection.command("CONFIG", "SET", "maxmemory-policy", policy)


def read_hits(connection: Connection, keys):
    """Asks for `keys`; the distinct ones that are not there, and how many were."""
    connection.socket.sendall(b"".join([GET % key for key in keys]))
    missing, hits = {}, 0
    for key in keys:
        line = connection.file.readline()
        if line == b"$16\r\n":
            connection.file.read(18)
            hits += 1
        elif line == b"$-1\r\n":
            missing[key] = True
        else:
            sys.exit(f"a GET failed: {line.decode(errors='replace')}")
    return list(missing), hits


def run_trace(server, trace, memory, policy, wanted_keys=None):
    """The share of hits in the second half, the keys held at the end, and the memory allowed then."""
    with server.connect() as connection:
        limit(connection, memory, policy)
        half, hits, counted = len(trace) // 2, 0, 0
        tune_every = max(BATCH, half // 100 // BATCH * BATCH)
        empty = connection.info("used_memory")
        for start in range(0, len(trace), BATCH):
            keys = trace[start:start + BATCH]
            missing, found = read_hits(connection, keys)
            if missing:
                connection.set_all([SET % (key, key) for key in missing])
            if start >= half:
                hits += found
                counted += len(keys)
            elif wanted_keys and start % tune_every == 0 and start > 0:
                memory = tuned(connection, memory, empty, wanted_keys)
        return hits / counted, connection.command("DBSIZE"), memory


def tuned(connection, memory, empty, wanted_keys):
    """Moves the limit so that the keys that fit come closer to those wanted."""
    count, used = connection.command("DBSIZE"), connection.info("used_memory")
    # Before the limit bites, or where it is right, nothing is to be done.
    if count < 0.98 * wanted_keys and used < 0.97 * memory or abs(count / wanted_keys - 1) < 0.002:
        return memory
    memory = int(used + (wanted_keys - count) * (used - empty) / max(1, count))
    connection.command("CONFIG", "SET", "maxmemory", memory)
    return memory


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_kedis_option(parser)
    parser.add_argument("--megabytes", type=int, default=16, help="the memory allowed")
    parser.add_argument("--accesses", type=int, default=4_000_000)
    parser.add_argument("--policies", default="allkeys-lru,allkeys-lfu,allkeys-random")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print a JSON object for each row")
    options = parser.parse_args()
    require(options.kedis, ["redis-server"])
    redis, kedis = ("redis-server", redis_command()), ("kedis server", kedis_command(options.kedis))
    memory = options.megabytes << 20
    fitting = held_keys(*redis, memory)
    trace = make_trace(10 * fitting, options.accesses, options.seed)
    if not options.json:
        print(f"{options.accesses} accesses to {10 * fitting} keys, {options.megabytes} MiB allowed, "
              f"redis-server holds {fitting} keys, seed {options.seed}")
        print(f"{'policy':>15} {'same':>7} {'redis hits':>11} {'kedis hits':>11} {'goal':>15} {'redis keys':>11} "
              f"{'kedis keys':>11} {'kedis MiB':>10}")
    for policy in options.policies.split(","):
        with Server(*redis) as server:
            redis_hits, redis_keys, _ = run_trace(server, trace, memory, policy)
        for same in ["memory", "keys"]:
            with Server(*kedis) as server:
                wanted = redis_keys if same == "keys" else None
                hits, keys, allowed = run_trace(server, trace, memory, policy, wanted)
            if options.json:
                print(json.dumps({
                    "benchmark": "hit-rate", "policy": policy, "same": same, "redis_hits": redis_hits,
                    "kedis_hits": hits, "met": hits >= redis_hits, "redis_keys": redis_keys, "kedis_keys": keys,
                    "redis_maxmemory": memory, "kedis_maxmemory": allowed,
                }), flush=True)
            else:
                goal = ">= redis " + ("kept" if hits >= redis_hits else "MISSED")
                print(f"{policy:>15} {same:>7} {redis_hits:>11.4f} {hits:>11.4f} {goal:>15} {redis_keys:>11} "
                      f"{keys:>11} {allowed / 2**20:>10.1f}", flush=True)


if __name__ == "__main__":
    main()
