"""The redis package of Python, in RESP2 and RESP3: what an application does with it.

Run by Tests/clients/run, which starts the server and sets KEDIS_PORT and KEDIS_SOCKET. Every check runs once for each
protocol and on an empty server.
"""

import os
import sys
import threading
import time

import redis

from checks import for_both_protocols, on_threads, run

PORT = int(os.environ["KEDIS_PORT"])


def connect(protocol, **options):
    options = {"host": "127.0.0.1", "port": PORT, "socket_timeout": 20, "protocol": protocol} | options
    return redis.Redis(**options)


both = for_both_protocols(connect)


def raises(kind, text, function, *arguments, **options):
    try:
        function(*arguments, **options)
    except kind as error:
        assert text in str(error), f"{error} lacks {text}"
        return
    raise AssertionError(f"no {kind.__name__} with {text}")


@both("ping, echo, time, protocol in use")
def connection(client, protocol):
    assert client.ping() is True
    assert client.echo("hello") == b"hello"
    assert abs(client.time()[0] - time.time()) < 5
    client.client_setname("checks")
    assert client.client_getname() in (b"checks", "checks")
    raw = client.execute_command("HELLO")
    fields = raw if isinstance(raw, dict) else dict(zip(raw[::2], raw[1::2]))
    assert fields[b"proto"] == protocol, fields


@both("strings")
def strings(client, protocol):
    assert client.set("name", "Karthik") is True
    assert client.get("name") == b"Karthik"
    assert client.get("none") is None
    assert client.mset({"a": 1, "b": 2}) is True
    assert client.mget("a", "none", "b") == [b"1", None, b"2"]
    assert client.msetnx({"a": 5, "c": 5}) in (False, 0)
    assert client.append("name", " V") == 9
    assert client.strlen("name") == 9
    assert client.getrange("name", 0, 2) == b"Kar"
    assert client.setrange("name", 8, "v") == 9
    assert client.getset("name", "new") == b"Karthik v"
    assert client.getdel("name") == b"new"
    assert client.exists("name", "a", "b") == 2
    assert client.incr("a") == 2 and client.incrby("a", 40) == 42 and client.decr("a", 2) == 40
    assert float(client.incrbyfloat("a", 0.5)) == 40.5
    assert client.lcs("a", "b") in (b"", "")


@both("options of SET")
def set_options(client, protocol):
    assert client.set("k", "1", nx=True) is True
    assert client.set("k", "2", nx=True) is None
    assert client.set("k", "2", xx=True) is True
    assert client.set("none", "2", xx=True) is None
    assert client.set("k", "3", get=True) == b"2"
    assert client.set("k", "4", ex=100) is True and 98 <= client.ttl("k") <= 100
    assert client.set("k", "5", keepttl=True) is True and 98 <= client.ttl("k") <= 100
    assert client.set("k", "6", px=100_000) is True and 98_000 <= client.pttl("k") <= 100_000
    assert client.set("k", "7", exat=int(time.time()) + 50) is True and 48 <= client.ttl("k") <= 50
    assert client.set("k", "8") is True and client.ttl("k") == -1
    raises(redis.ResponseError, "syntax error", client.execute_command, "SET", "k", "v", "NX", "XX")
    raises(redis.ResponseError, "invalid expire time", client.execute_command, "SET", "k", "v", "EX", "0")


@both("deadlines")
def expiry(client, protocol):
    client.set("k", "v")
    assert client.expire("k", 100) and 98 <= client.ttl("k") <= 100
    assert not client.expire("k", 200, nx=True)
    assert client.expire("k", 200, gt=True)
    assert client.expiretime("k") > time.time() + 190
    assert client.persist("k") and client.ttl("k") == -1
    assert client.ttl("none") == -2
    client.psetex("soon", 60, "v")
    assert client.get("soon") == b"v"
    time.sleep(0.1)
    assert client.get("soon") is None and client.exists("soon") == 0
    assert client.getex("k", ex=10) == b"v" and 8 <= client.ttl("k") <= 10
    client.set("unread", "v", px=30)
    before = client.dbsize()
    deadline = time.monotonic() + 10
    while client.dbsize() == before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert client.dbsize() == before - 1, "a key that nobody reads goes away by itself"


@both("binary keys and values")
def binary(client, protocol):
    every_byte = bytes(range(256))
    key = b"k\x00\r\n" + every_byte
    for value in (b"", b"\x00", every_byte, b"\r\n" * 1000, os.urandom(3_000_000)):
        assert client.set(key, value) is True
        assert client.get(key) == value
        assert client.strlen(key) == len(value)
    assert client.keys(b"k\x00*") == [key]
    assert client.rename(key, every_byte) is True and client.exists(every_byte) == 1


@both("pipelines without a transaction")
def pipelines(client, protocol):
    pipeline = client.pipeline(transaction=False)
    for index in range(5_000):
        pipeline.set(f"key:{index}", f"value:{index}")
        pipeline.get(f"key:{index}")
    replies = pipeline.execute()
    assert len(replies) == 10_000
    assert replies[0::2] == [True] * 5_000
    assert replies[1::2] == [f"value:{index}".encode() for index in range(5_000)]
    pipeline.set("text", "abc").incr("text").get("text")
    replies = pipeline.execute(raise_on_error=False)
    assert replies[0] is True and replies[2] == b"abc"
    assert isinstance(replies[1], redis.ResponseError), "an error takes only its own place"


@both("scanning")
def scanning(client, protocol):
    client.mset({f"scan:{index}": "v" for index in range(3_000)})
    client.mset({f"other:{index}": "v" for index in range(100)})
    found = list(client.scan_iter(match="scan:*", count=200))
    assert set(found) == {f"scan:{index}".encode() for index in range(3_000)}
    assert len(set(client.scan_iter())) == 3_100
    assert list(client.scan_iter(_type="list")) == []
    assert len(client.keys("other:*")) == 100
    assert client.randomkey() is not None
    assert client.dbsize() == 3_100
    assert client.delete(*[f"other:{index}" for index in range(100)]) == 100


@both("databases, copies, moves")
def databases(client, protocol):
    client.set("a", "1")
    assert client.copy("a", "b") is True and client.get("b") == b"1"
    assert client.rename("b", "c") is True and client.renamenx("c", "a") in (False, 0)
    assert client.move("c", 4) in (True, 1)
    fourth = connect(protocol, db=4)
    assert fourth.get("c") == b"1"
    client.swapdb(0, 4)
    assert client.get("c") == b"1" and fourth.get("a") == b"1"
    assert fourth.flushdb() is True and fourth.dbsize() == 0 and client.dbsize() == 1
    fourth.close()
    assert client.type("c") in (b"string", "string")
    assert client.touch("c", "none") == 1 and client.unlink("c") == 1
    client.set("n", "12345")
    assert client.object("encoding", "n") in (b"int", "int")


@both("a pool with 50 threads")
def pool(client, protocol):
    shared = connect(protocol, connection_pool=redis.ConnectionPool(
        host="127.0.0.1", port=PORT, protocol=protocol, socket_timeout=20, max_connections=50))
    barrier = threading.Barrier(50)

    def work(number):
        barrier.wait(20)
        for turn in range(100):
            shared.incr("shared")
            shared.set(f"own:{number}", turn)
            assert shared.get(f"own:{number}") == str(turn).encode()

    on_threads(50, work)
    assert shared.get("shared") == b"5000"
    shared.close()
    shared.connection_pool.disconnect()


@both("CLIENT, INFO, CONFIG, COMMAND")
def introspection(client, protocol):
    client.client_setname("seen")
    own = client.client_id()
    listed = {int(entry["id"]): entry for entry in client.client_list()}
    assert listed[own]["name"] == "seen" and listed[own]["cmd"] == "client|list"
    assert int(client.client_info()["id"]) == own
    info = client.info()
    assert info["redis_version"].count(".") == 2 and info["connected_clients"] >= 1
    client.set("k", "v", ex=100)
    keyspace = client.info("keyspace")["db0"]
    assert keyspace["keys"] == 1 and keyspace["expires"] == 1
    client.get("k"), client.get("none")
    stats = client.info("stats")
    assert stats["keyspace_hits"] >= 1 and stats["keyspace_misses"] >= 1 and stats["total_commands_processed"] > 0
    assert client.config_get("proto-max-bulk-len") == {"proto-max-bulk-len": "536870912"}
    assert client.config_set("timeout", 0) is True
    raises(redis.ResponseError, "Unknown option", client.config_set, "no-such-directive", 1)
    commands = client.command()
    assert commands["get"]["arity"] == 2 and client.command_count() == len(commands)
    docs = client.execute_command("COMMAND DOCS", "set")
    docs = docs if isinstance(docs, dict) else dict(zip(docs[::2], docs[1::2]))
    assert b"set" in docs or "set" in docs
    assert client.command_getkeys("MSET", "a", "1", "b", "2") in ([b"a", b"b"], ["a", "b"])


@both("errors have their kinds")
def errors(client, protocol):
    client.set("text", "abc")
    raises(redis.ResponseError, "value is not an integer or out of range", client.incr, "text")
    raises(redis.ResponseError, "unknown command", client.execute_command, "NOSUCH")
    raises(redis.ResponseError, "wrong number of arguments", client.execute_command, "GET")
    raises(redis.ResponseError, "no such key", client.rename, "none", "other")
    raises(redis.ResponseError, "DB index is out of range", client.execute_command, "SELECT", 1000)
    client.set("big", 2**63 - 1)
    raises(redis.ResponseError, "overflow", client.incr, "big")
    if protocol == 2:  # HELLO 3 with a password is another way in, and the user without password lets it pass
        raises(redis.RedisError, "without any password", connect(protocol, password="secret").ping)


@both("a killed client, a Unix socket, decoded replies")
def connections(client, protocol):
    victim = connect(protocol)
    number = victim.client_id()
    assert client.client_kill_filter(_id=number) == 1
    assert victim.ping() is True, "the client connects again"
    assert victim.client_id() != number
    victim.close()
    local = redis.Redis(unix_socket_path=os.environ["KEDIS_SOCKET"], protocol=protocol, decode_responses=True)
    local.set("text", "schön")
    assert local.get("text") == "schön"
    local.close()


if __name__ == "__main__":
    sys.exit(run())
