"""Commands on one sorted set of 1 M members of 16 bytes, over one connection in pipelines of 16."""
import random

from cases import element, filling, send
from comparison import Section, pipe_case

SCORE_MAX = 1 << 30


def section(scale, members):
    generator = random.Random(1)
    order = list(range(members))
    generator.shuffle(order)

    def fill(server):
        send(server, filling("sorted set", "z", order))

    def pick():
        return element(generator.randrange(members))

    def score():
        return generator.randrange(SCORE_MAX)

    def by_rank(*_):
        low = generator.randrange(members - 10)
        return ["ZRANGE", "z", low, low + 9]

    def by_score(*_):
        low = score()
        return ["ZRANGE", "z", low, low + SCORE_MAX * 10 // members, "BYSCORE"]

    def case(name, make, wanted=None, count=200_000):
        return pipe_case(name, int(count * scale), make, wanted)

    return Section("sorted set of 1 M members", [
        case("ZRANK", lambda *_: ["ZRANK", "z", pick()], 0.6),
        case("ZSCORE", lambda *_: ["ZSCORE", "z", pick()]),
        case("ZRANGE of 10 by rank", by_rank, 0.6),
        case("ZRANGE of 10 by score", by_score, 0.6),
        case("ZADD, another score", lambda *_: ["ZADD", "z", score(), pick()], 0.6),
        case("ZADD, a new member", lambda *_: ["ZADD", "z", score(), b"new:%d" % generator.randrange(1 << 60)], 0.6),
        case("ZPOPMIN", lambda *_: ["ZPOPMIN", "z"], 0.6),
    ], fill)
