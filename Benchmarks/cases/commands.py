"""redis-benchmark's own loads, 50 connections in pipelines of 16, with random keys and members."""
from comparison import Section, benchmark_case
from servers import Pipe, encode

RANDOM = "__rand_int__"
KEYSPACE = 1_000_000
COUNT = 800_000


def benchmark_element(index):
    """A member as redis-benchmark writes it."""
    return b"element:%012d" % index


def empty(*keys):
    return lambda server: Pipe(server).send([encode("DEL", *keys)])


def filled(command, key, arguments, count=KEYSPACE):
    """Makes `key` anew with `count` elements, so that no pop finds it empty."""
    def prepare(server):
        requests = [encode("DEL", key)]
        for start in range(0, count, 50):
            words = [command, key]
            for index in range(start, start + 50):
                words += arguments(index)
            requests.append(encode(*words))
        Pipe(server).send(requests)
    return prepare


full_set = filled("SADD", "myset", lambda index: [benchmark_element(index)])
full_sorted_set = filled("ZADD", "myzset", lambda index: [index * 7919 % KEYSPACE, benchmark_element(index)])
full_list = filled("RPUSH", "mylist", lambda index: ["VXK"])
list_of_100_000 = filled("RPUSH", "mylist", lambda index: ["VXK"], 100_000)


def case(name, command, wanted, prepare=None, count=COUNT):
    return benchmark_case(name, command.split(), count, wanted, prepare, KEYSPACE)


def section(scale):
    def count(number):
        return int(number * scale)

    cases = [
        case("SADD", f"SADD myset element:{RANDOM}", 0.6, empty("myset"), count(COUNT)),
        case("SPOP", "SPOP myset", 0.6, full_set, count(COUNT)),
        case("HSET", f"HSET myhash element:{RANDOM} VXK", 0.6, empty("myhash"), count(COUNT)),
        case("ZADD", f"ZADD myzset {RANDOM} element:{RANDOM}", 0.6, empty("myzset"), count(COUNT)),
        case("ZPOPMIN", "ZPOPMIN myzset", 0.6, full_sorted_set, count(COUNT)),
        case("LPUSH", "LPUSH mylist VXK", 0.8, empty("mylist"), count(COUNT)),
        case("RPUSH", "RPUSH mylist VXK", 0.8, empty("mylist"), count(COUNT)),
        case("LPOP", "LPOP mylist", 0.8, full_list, count(COUNT)),
        case("RPOP", "RPOP mylist", 0.8, full_list, count(COUNT)),
        case("MSET (10 keys)", "MSET" + f" key:{RANDOM} VXK" * 10, 0.8, None, count(250_000)),
    ]
    for last, number in [(99, 300_000), (299, 150_000), (499, 100_000), (599, 90_000)]:
        cases.append(case(f"LRANGE_{last + 1}", f"LRANGE mylist 0 {last}", 0.6, list_of_100_000, count(number)))
    return Section("redis-benchmark -P 16", cases)
