"""Files of every type in every encoding, between redis-server 7.0 and Kedis: what one saves the other loads as the same.

Run by Tests/clients/run, which sets KEDIS_BINARY. Each server has a folder and a free port of its own. Values are
compared by DEBUG DIGEST of the whole data set, encodings by OBJECT ENCODING, and redis-check-rdb reads the file too.
"""

import os
import socket
import subprocess
import tempfile
import time

import redis

from checks import check, run

BINARY = os.environ["KEDIS_BINARY"]
# Redis 7.2, and so Kedis, packs small sets and lists that 7.0 does not.
NEWER = {b"set:": {"hashtable", "listpack"}, b"list": {"quicklist", "listpack"}}


class Server:
    """A server on the files of a folder."""

    def __init__(self, command, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "",
                   "--enable-debug-command", "yes"]
        self.process = subprocess.Popen(
            [*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
        self.client = redis.Redis(port=port, socket_timeout=30)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.client.ping()
                return
            except redis.exceptions.RedisError:
                assert time.monotonic() < deadline and self.process.poll() is None, f"{command[0]} does not answer"
                time.sleep(0.05)

    def __enter__(self):
        return self.client

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)


def redis_server(folder):
    return Server(["redis-server"], folder)


def kedis_server(folder):
    return Server([BINARY, "server"], folder)


def fill(client):
    """Makes keys of each type and encoding, at the limits and beyond them; a database of its own for some."""
    client.set("string:int", 12345)
    client.set("string:least", -(2**63))
    client.set("string:short", "x" * 44)
    client.set("string:raw", "x" * 45)
    client.set("string:compressible", "abc" * 10_000)
    client.set("string:bytes", bytes(range(256)) * 40)
    client.set("string:empty", "")
    client.set("deadline", "x", px=4_000_000_000_000)
    client.pfadd("hll:sparse", *range(100))
    client.pfadd("hll:dense", *range(20_000))
    client.setbit("bits", 100_000, 1)
    for name, count in [("small", 10), ("large", 3000)]:
        members = [f"member:{index}" for index in range(count)]
        client.rpush(f"list:{name}", *members, *range(count), -(2**40), "")
        client.sadd(f"set:integers:{name}", *range(count))
        client.sadd(f"set:wide:{name}", *(index << 40 for index in range(count)))
        client.sadd(f"set:{name}", *members)
        client.hset(f"hash:{name}", mapping={member: index for index, member in enumerate(members)})
        client.zadd(f"zset:{name}", {member: index / 3 for index, member in enumerate(members)})
        for index in range(count):
            client.xadd(f"stream:{name}", {"field": index, f"other:{index % 3}": "x" * 20}, id=f"{index + 1}-0")
    client.rpush("list:long", "x" * 9000, "y", "z" * 70_000)
    client.hset("hash:long", "field", "x" * 65)
    client.zadd("zset:long", {"x" * 65: float("inf"), "y": float("-inf"), "z": 1e300, "n": -0.0})
    client.sadd("set:long", "x" * 65)
    client.xgroup_create("stream:small", "group", id="0")
    client.xreadgroup("group", "alice", {"stream:small": ">"}, count=4)
    client.xreadgroup("group", "bob", {"stream:small": ">"}, count=2)
    client.xack("stream:small", "group", "1-0")
    client.xdel("stream:small", "2-0", "9-0")
    client.xgroup_create("stream:empty", "none", mkstream=True)
    client.execute_command("SELECT", 3)
    client.set("in another database", 1)
    client.execute_command("SELECT", 0)


def encodings(client):
    return {key: client.object("encoding", key).decode() for key in client.keys("*")}


def compare(wanted, got):
    """Two pictures of data sets: digest, and encodings by key."""
    assert wanted[0] == got[0], f"digests: {wanted[0]} and {got[0]}"
    for key, encoding in wanted[1].items():
        other = got[1][key]
        assert encoding == other or {encoding, other} == NEWER.get(key[:4]), f"{key}: {encoding} and {other}"


def picture(client):
    return client.execute_command("DEBUG", "DIGEST"), encodings(client)


def carry(first, second, settings):
    """Fills one server, saves, and has the other load the file; then the file goes back."""
    with tempfile.TemporaryDirectory() as folder:
        with first(folder) as client:
            for name, value in settings.items():
                client.config_set(name, value)
            fill(client)
            client.save()
            wanted = picture(client)
        checked = subprocess.run(
            ["redis-check-rdb", os.path.join(folder, "dump.rdb")], capture_output=True, check=False, timeout=60)
        assert checked.returncode == 0, checked.stdout.decode()
        with second(folder) as client:
            for name, value in settings.items():
                client.config_set(name, value)
            got = picture(client)
            client.save()
        if not settings:
            compare(wanted, got)
        assert wanted[0] == got[0], "the other server has another data set"
        with first(folder) as client:
            assert client.execute_command("DEBUG", "DIGEST") == wanted[0], "it changed on its way there and back"


OTHER_LIMITS = {
    "list-max-listpack-size": "3", "hash-max-listpack-entries": "3", "zset-max-listpack-entries": "3",
    "set-max-intset-entries": "3", "stream-node-max-entries": "3", "hll-sparse-max-bytes": "0",
    "list-compress-depth": "1",
}


@check("Kedis loads what redis-server saved, and gives it back")
def from_redis():
    carry(redis_server, kedis_server, {})


@check("redis-server loads what Kedis saved, and gives it back")
def from_kedis():
    carry(kedis_server, redis_server, {})


@check("Kedis loads what redis-server saved under other limits, uncompressed")
def from_redis_with_other_limits():
    carry(redis_server, kedis_server, OTHER_LIMITS | {"rdbcompression": "no"})


@check("redis-server loads what Kedis saved under other limits, uncompressed")
def from_kedis_with_other_limits():
    carry(kedis_server, redis_server, OTHER_LIMITS | {"rdbcompression": "no"})


if __name__ == "__main__":
    raise SystemExit(run())
