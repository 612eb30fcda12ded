"""BITCOUNT, BITPOS and BITOP on strings of 10 MB of random bytes, one command at a time."""
import random

from comparison import Section, pipe_case

BYTE_COUNT = 10_000_000


def fill(server):
    """Four strings of random bytes and one of zeroes."""
    generator = random.Random(1)
    with server.connect() as connection:
        for name in ("a", "b", "c", "d"):
            connection.command("SET", name, generator.randbytes(BYTE_COUNT))
        connection.command("SET", "zeroes", bytes(BYTE_COUNT))


def section(scale):
    def case(name, count, wanted, *words):
        return pipe_case(name, max(1, int(count * scale)), lambda *_: words, wanted, pipeline=1)

    return Section("strings of 10 MB", [
        case("BITCOUNT", 1000, 0.7, "BITCOUNT", "a"),
        case("BITCOUNT 1 -2 BIT", 1000, 0.7, "BITCOUNT", "a", "1", "-2", "BIT"),
        case("BITPOS of the first one in zeroes", 1000, None, "BITPOS", "zeroes", "1"),
        case("BITOP AND of 2", 300, 0.7, "BITOP", "AND", "result", "a", "b"),
        case("BITOP OR of 4", 200, 0.7, "BITOP", "OR", "result", "a", "b", "c", "d"),
        case("BITOP XOR, into a source", 300, 0.7, "BITOP", "XOR", "a", "a", "b"),
        case("BITOP NOT", 300, 0.7, "BITOP", "NOT", "result", "a"),
    ], fill)
