"""HyperLogLogs: 100 dense ones of 10,000 elements and 100 sparse ones of 857, in pipelines of 16.

At the end both servers must hold the same bytes.
"""
import sys

from comparison import Section, pipe_case

KEYS = 100
DENSE = [f"dense:{index}" for index in range(KEYS)]
SPARSE = [f"sparse:{index}" for index in range(KEYS)]


def elements(number, index, count):
    return [f"element:{number}:{index}:{one}" for one in range(count)]


def make_count(_, index):
    """What PFADD changes in between is not kept as an estimate: the odd requests count."""
    key = DENSE[index // 2 % KEYS]
    return ["PFCOUNT", key] if index % 2 else ["SETRANGE", key, 15, b"\x80"]


def fill(server):
    with server.connect() as connection:
        for key in range(KEYS):
            for part in range(10):
                names = [f"dense:{key}:{part}:{one}" for one in range(1000)]
                connection.command("PFADD", f"dense:{key}", *names)
            # The same elements in all of them, so that the merged one stays sparse.
            connection.command(
                "PFADD", f"sparse:{key}", *[f"element:0:{one}:0" for one in range(1000) if one % 7 != key % 7])


def check(servers):
    for key in ["merged"] + DENSE + SPARSE:
        values = []
        for server in servers:
            with server.connect() as connection:
                values.append(connection.command("GET", key))
        if values[0] != values[1]:
            sys.exit(f"{key} differs between the servers")


def section(scale):
    def case(name, count, wanted, make):
        return pipe_case(name, max(16, int(count * scale)), make, wanted)

    return Section("HyperLogLogs", [
        case("PFADD, new keys of 3 elements", 160_000, None, lambda r, i: ["PFADD", f"new:{r}:{i}", "a", "b", "c"]),
        case("PFADD, sparse, one element", 160_000, 1.0,
             lambda r, i: ["PFADD", SPARSE[i % KEYS]] + elements(0, i // KEYS % 1000, 1)),
        case("PFADD, dense, one element", 320_000, 1.0, lambda r, i: ["PFADD", DENSE[i % KEYS]] + elements(r, i, 1)),
        case("PFADD, dense, 100 elements", 32_000, None, lambda r, i: ["PFADD", DENSE[i % KEYS]] + elements(r, i, 100)),
        case("PFCOUNT, kept estimate", 320_000, None, lambda r, i: ["PFCOUNT", SPARSE[i % KEYS]]),
        case("PFCOUNT, dense, changed before", 160_000, None, make_count),
        case("PFCOUNT of 100, dense", 2_000, None, lambda r, i: ["PFCOUNT"] + DENSE),
        case("PFMERGE of 100, dense", 2_000, 0.7, lambda r, i: ["PFMERGE", "merged"] + DENSE),
        case("PFMERGE of 100, sparse", 2_000, 0.7, lambda r, i: ["PFMERGE", f"merged:{r}:{i}"] + SPARSE),
    ], fill, check)
