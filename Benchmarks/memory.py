#!/usr/bin/env python3
"""Memory of a key: redis-server and kedis server side by side, in one run.

Each row starts both servers anew, fills them with keys of 16 bytes and values of 16 bytes, and compares resident
memory with that of the empty server: in bytes for each key, without and with a deadline on every key.

    Benchmarks/memory.py [--counts 1000000,2^20,10000000] [--no-deadlines] [--json]

It needs Linux, redis-server on the path, and a release build of kedis.
"""
import argparse
import json
import sys
import time

sys.dont_write_bytecode = True
from servers import Server, add_kedis_option, counts, fill, kedis_command, redis_command, require  # noqa: E402


def measure(name, command, count, deadlines):
    """Bytes for each key, resident and used, over those of the empty server."""
    with Server(name, command) as server:
        with server.connect() as connection:
            # What a first connection and a first key cost for good is the empty server's.
            connection.command("SET", "key", "value")
            connection.command("DEL", "key")
            time.sleep(0.5)
            resident, used = server.resident_bytes(), connection.info("used_memory")
        fill(server, count, deadlines)
        with server.connect() as connection:
            # Tables that are being rehashed come to rest.
            time.sleep(2)
            found = connection.command("DBSIZE")
            if found != count:
                sys.exit(f"{name} has {found} keys instead of {count}")
            return (server.resident_bytes() - resident) / count, (connection.info("used_memory") - used) / count


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_kedis_option(parser)
    parser.add_argument("--counts", type=counts, default=counts("1000000,2^20,2^21,2^22,2^23,10000000"))
    parser.add_argument("--no-deadlines", action="store_true")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each row")
    options = parser.parse_args()
    require(options.kedis, ["redis-server"])
    if not options.json:
        print(f"{'keys':>10} {'deadlines':>9} {'redis rss':>10} {'kedis rss':>10} {'ratio':>6} {'goal':>11} "
              f"{'redis used':>10} {'kedis used':>10} {'kedis used/rss':>14}  (bytes a key)")
    for count in options.counts:
        plain = None
        for deadlines in [False] if options.no_deadlines else [False, True]:
            redis, redis_used = measure("redis-server", redis_command(), count, deadlines)
            kedis, kedis_used = measure("kedis server", kedis_command(options.kedis), count, deadlines)
            limit = (50 if count == 10_000_000 else 56) if plain is None else plain + 14
            plain = kedis if plain is None else plain
            row = {
                "benchmark": "memory", "keys": count, "deadlines": deadlines, "redis_bytes": round(redis, 2),
                "kedis_bytes": round(kedis, 2), "limit": round(limit, 2), "met": kedis <= limit,
                "redis_used_bytes": round(redis_used, 2), "kedis_used_bytes": round(kedis_used, 2),
            }
            if options.json:
                print(json.dumps(row), flush=True)
            else:
                goal = f"<={limit:.0f} " + ("kept" if kedis <= limit else "MISSED")
                print(f"{count:>10} {'yes' if deadlines else 'no':>9} {redis:>10.1f} {kedis:>10.1f} "
                      f"{kedis / redis:>6.2f} {goal:>11} {redis_used:>10.1f} {kedis_used:>10.1f} "
                      f"{kedis_used / kedis:>14.3f}", flush=True)


if __name__ == "__main__":
    main()
