"""Commands that walk whole sets and lists of 100,000 elements, one at a time."""
import random

from cases import filling, send
from comparison import Section, pipe_case
from servers import encode

COUNT = 100_000


def section(scale):
    numbers = [random.Random(1).randrange(1 << 40) for _ in range(COUNT)]

    def fill(server):
        for key, offset in [("a", 0), ("b", COUNT // 2)]:
            order = list(range(offset, offset + COUNT))
            random.Random(offset).shuffle(order)
            send(server, filling("set", key, order))
        send(server, [encode("RPUSH", "numbers", *numbers[first:first + 50]) for first in range(0, COUNT, 50)])

    def case(name, count, *words):
        return pipe_case(name, max(1, int(count * scale)), lambda *_: words, 0.7, pipeline=1)

    return Section("two sets of 100,000, a list of 100,000", [
        case("SINTER", 60, "SINTER", "a", "b"),
        case("SINTERCARD", 100, "SINTERCARD", 2, "a", "b"),
        case("SINTERSTORE", 60, "SINTERSTORE", "c", "a", "b"),
        case("SUNION", 40, "SUNION", "a", "b"),
        case("SDIFF", 40, "SDIFF", "a", "b"),
        case("SORT", 40, "SORT", "numbers"),
        case("SORT LIMIT 0 10", 60, "SORT", "numbers", "LIMIT", 0, 10),
    ], fill)
