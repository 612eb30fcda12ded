"""The redis package of Python over TLS, in RESP2 and RESP3.

Run by Tests/clients/run, which starts the server and sets KEDIS_TLS_PORT and KEDIS_TLS_FOLDER.
"""

import os
import sys
import threading
import time

import redis

from checks import for_both_protocols, on_threads, run

PORT = int(os.environ["KEDIS_TLS_PORT"])
FOLDER = os.environ["KEDIS_TLS_FOLDER"]


def connect(protocol, **options):
    options = {
        "host": "localhost", "port": PORT, "socket_timeout": 20, "protocol": protocol, "ssl": True,
        "ssl_ca_certs": f"{FOLDER}/ca.crt", "ssl_check_hostname": True,
    } | options
    return redis.Redis(**options)


both = for_both_protocols(connect, prefix="TLS, ")


@both("commands, and a value of 10 MB there and back")
def commands(client, protocol):
    assert client.ping() is True
    assert client.set("name", "Karthik") and client.get("name") == b"Karthik"
    value = os.urandom(10_000_000)
    assert client.set("big", value) is True
    assert client.get("big") == value
    assert client.hset("h", mapping={"a": 1, "b": 2}) == 2
    assert client.hgetall("h") == {b"a": b"1", b"b": b"2"}


@both("pipelines of 10,000 commands, and a transaction")
def pipelines(client, protocol):
    pipeline = client.pipeline(transaction=False)
    for index in range(5_000):
        pipeline.set(f"key:{index}", f"value:{index}")
        pipeline.get(f"key:{index}")
    replies = pipeline.execute()
    assert replies[1::2] == [f"value:{index}".encode() for index in range(5_000)]
    pipeline = client.pipeline(transaction=True)
    pipeline.incr("n").incr("n")
    assert pipeline.execute() == [1, 2]


@both("messages")
def messages(client, protocol):
    listener = connect(protocol).pubsub(ignore_subscribe_messages=True)
    listener.subscribe("news")
    deadline = time.monotonic() + 10
    while client.publish("news", "first") == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert client.publish("news", b"x" * 1_000_000) == 1
    found = []
    while len(found) < 2 and time.monotonic() < deadline:
        message = listener.get_message(timeout=1)
        if message:
            found.append(message["data"])
    assert found == [b"first", b"x" * 1_000_000], [len(item) for item in found]
    listener.close()


@both("a blocked BLPOP is served by another client")
def blocked(client, protocol):
    def push():
        time.sleep(0.3)
        other = connect(protocol)
        other.rpush("queue", "job")
        other.close()

    thread = threading.Thread(target=push, daemon=True)
    thread.start()
    assert tuple(client.blpop("queue", timeout=10)) == (b"queue", b"job")
    thread.join(10)


@both("40 connections at once")
def many(client, protocol):

    def work(number):
        own = connect(protocol)
        for turn in range(50):
            assert own.set(f"own:{number}", turn) and own.get(f"own:{number}") == str(turn).encode()
            own.incr("shared")
        own.close()

    on_threads(40, work)
    assert client.get("shared") == b"2000"


@both("a certificate of a stranger is refused, one of the authority's is not")
def certificates(client, protocol):
    own = connect(protocol, ssl_certfile=f"{FOLDER}/client.crt", ssl_keyfile=f"{FOLDER}/client.key")
    assert own.ping() is True
    own.close()
    stranger = connect(protocol, ssl_certfile=f"{FOLDER}/other.crt", ssl_keyfile=f"{FOLDER}/other.key")
    try:
        stranger.ping()
    except redis.exceptions.RedisError:
        return
    raise AssertionError("a stranger was let in")


if __name__ == "__main__":
    sys.exit(run())
