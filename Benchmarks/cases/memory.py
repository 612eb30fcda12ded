"""Resident memory of one collection of 1 M elements of 16 bytes, and of 100,000 collections of 10."""
import random
import time

from cases import filling, send
from comparison import Case, Section
from servers import Server, encode

SMALL_COUNT = 100_000


def growth(server, requests):
    """The growth of resident memory by these requests, after a pause for the background."""
    # What a first connection and a first key cost for good is the empty server's.
    send(server, [encode("SADD", "warm", "a"), encode("DEL", "warm")])
    time.sleep(0.5)
    empty = server.resident_bytes()
    send(server, requests)
    time.sleep(2)
    return server.resident_bytes() - empty


def large_case(kind, count, wanted):
    def measure(server, _):
        order = list(range(count))
        if kind not in ("list", "stream"):
            random.Random(1).shuffle(order)
        with Server(server.name, server.command) as fresh:
            return growth(fresh, filling(kind, "k", order)) / count, None
    return Case(f"{kind} of 1 M, an element", measure, wanted, "bytes", is_steady=True)


def small_case(kind, wanted):
    def measure(server, _):
        requests = [
            request for key in range(SMALL_COUNT)
            for request in filling(kind, b"key:%08d" % key, range(key, key + 10))
        ]
        with Server(server.name, server.command) as fresh:
            return growth(fresh, requests) / SMALL_COUNT, None
    return Case(f"{kind} of 10", measure, wanted, "bytes", is_steady=True)


def section(count):
    large = [("hash", 0.5), ("set", 0.5), ("sorted set", 0.5), ("list", 1.0), ("stream", 0.9)]
    small = [("hash", 0.85), ("set", 0.4), ("sorted set", 0.9), ("list", 0.7)]
    return Section(
        "resident memory",
        [large_case(kind, count, wanted) for kind, wanted in large] + [small_case(kind, wanted) for kind, wanted in small])
