"""What a command costs on the wire: 50 connections, values of 32 bytes, 1 M keys, and what is wanted of each."""
from cases.commands import RANDOM, KEYSPACE, empty, full_list, list_of_100_000
from comparison import Section, benchmark_case
from servers import preload_strings

VALUE_BYTES = 32
VALUE = "x" * VALUE_BYTES
# At one command at a time, where the system has io_uring and where it has not.
WANTED_ALONE = {"io_uring": 0.80, "epoll": 0.88}


def section(scale, transport):
    def case(pipeline, name, command, count, wanted, prepare=None, connections=50):
        title = f"P={pipeline} {name}" + (f", {connections:,} connections" if connections != 50 else "")
        return benchmark_case(
            title, command.split(), int(count * scale), wanted, prepare, KEYSPACE, connections, pipeline)

    get, set_, alone = f"GET key:{RANDOM}", f"SET key:{RANDOM} {VALUE}", WANTED_ALONE.get(transport)
    return Section(f"redis-benchmark, {transport}", [
        case(1, "GET", get, 300_000, alone),
        case(1, "SET", set_, 300_000, alone),
        case(1, "GET", get, 300_000, 0.85, connections=1000),
        case(16, "GET", get, 2_000_000, 0.45),
        case(16, "SET", set_, 2_000_000, 0.45),
        case(16, "INCR", f"INCR counter:{RANDOM}", 2_000_000, 0.45),
        case(128, "GET", get, 4_000_000, 0.28),
        case(16, "SADD", f"SADD myset element:{RANDOM}", 800_000, 0.50, empty("myset")),
        case(16, "HSET", f"HSET myhash element:{RANDOM} {VALUE}", 800_000, 0.50, empty("myhash")),
        case(16, "ZADD", f"ZADD myzset {RANDOM} element:{RANDOM}", 800_000, 0.50, empty("myzset")),
        case(16, "LPUSH", f"LPUSH mylist {VALUE}", 800_000, 0.75, empty("mylist")),
        case(16, "RPOP", "RPOP mylist", 800_000, 0.75, full_list),
        case(16, "LRANGE_100", "LRANGE mylist 0 99", 300_000, 0.50, list_of_100_000),
        case(16, "LRANGE_600", "LRANGE mylist 0 599", 90_000, 0.50, list_of_100_000),
        case(16, "MSET (10 keys)", "MSET" + f" key:{RANDOM} {VALUE}" * 10, 250_000, 0.75),
    ], fill=lambda server: preload_strings(server, KEYSPACE, VALUE_BYTES))
