#!/usr/bin/env python3
"""How late keys expire, and how long other commands wait meanwhile: redis-server and kedis server in one run.

A million keys get their deadlines, evenly over one second or all in one millisecond. One connection asks PING all the
time, one DBSIZE: the longest wait for a PONG counts from half a second before the first deadline until the last key is
gone. The client's own stalls count too, so the longest wait before that is shown beside it.

    Benchmarks/expiry-wait.py [--keys 1000000] [--rounds 3] [--json]

It needs Linux, redis-server on the path, and a release build of kedis.
"""
import argparse
import sys
import time

sys.dont_write_bytecode = True
from servers import Server, add_kedis_option, kedis_command, print_row, redis_command, require  # noqa: E402

BATCH = 1000
LEAD_SECONDS = 0.5


def fill(connection, key_count, first_milliseconds, spread_milliseconds):
    for start in range(0, key_count, BATCH):
        requests = []
        for index in range(start, min(start + BATCH, key_count)):
            due = first_milliseconds + index * spread_milliseconds // key_count
            requests.append(b"SET key:%012d val:%012d PXAT %d\r\n" % (index, index, due))
        connection.set_all(requests)


def ping(connection):
    """The time that a PING took, in seconds."""
    start = time.perf_counter()
    connection.socket.sendall(b"PING\r\n")
    connection.file.readline()
    return time.perf_counter() - start


def measure(server, key_count, spread_milliseconds):
    """The seconds after the last deadline until the last key is gone, and the longest waits before and meanwhile."""
    # Long enough to fill, and then some.
    first = int(time.time() * 1000) + key_count // 40 + 3000
    last = (first + spread_milliseconds) / 1000
    with server.connect() as filler, server.connect() as pinger:
        fill(filler, key_count, first, spread_milliseconds)
        if time.time() > first / 1000 - LEAD_SECONDS - 1:
            sys.exit("the machine is too slow for so many keys: see --keys")
        before = meanwhile = 0.0
        while time.time() < first / 1000 - LEAD_SECONDS:
            before = max(before, ping(pinger))
        while True:
            meanwhile = max(meanwhile, ping(pinger))
            now = time.time()
            if now > last:
                filler.socket.sendall(b"DBSIZE\r\n")
                if filler.file.readline() == b":0\r\n":
                    return time.time() - last, before, meanwhile
            if now > last + 60:
                sys.exit("keys are still there a minute after their deadline")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    add_kedis_option(parser)
    options = parser.parse_args()
    require(options.kedis, ["redis-server"])
    for name, command in (("redis-server", redis_command()), ("kedis server", kedis_command(options.kedis))):
        for spread in (1000, 1):
            with Server(name, command) as server:
                rounds = [measure(server, options.keys, spread) for _ in range(options.rounds)]
            row = {"server": name, "spread_ms": spread, "keys": options.keys}
            for index, field in enumerate(("late_ms", "wait_before_ms", "wait_meanwhile_ms")):
                # The machine's own stalls only ever add: the least of the longest waits says most.
                row[field] = [round(values[index] * 1000, 2) for values in rounds]
            print_row(row, options.json)


if __name__ == "__main__":
    main()
