#!/usr/bin/env python3
"""Soaks `kedis server` in mixed traffic, then looks for what it kept: memory, descriptors, clients.

Workers, each on connections of its own, at random: short lives (connect, a request, away), lives that end within a
request, half-closed ones, pipelines, large values, readers that take their replies slowly or not at all, blocking
commands that are served, time out or lose their client, pub/sub, transactions, clients that are killed. A probe on
another connection wants an answer all the time. Once the first tenth is over, the figures of a quiet moment are noted,
and again in the end:

    memory        resident bytes after FLUSHALL and MEMORY PURGE, at most --growth above the first quiet moment
    descriptors   of the process: as many as then
    clients       one, nobody blocked, no channel, no reply wrong, no answer of the probe later than ten seconds

    Tests/clients/soak.py --server-binary .build/release/kedis [--seconds 600] [--workers 24] [--seed N] [-- SERVER ARGUMENTS]

Linux only; sockets are Python's own, as no client library does what bad clients do. The seed is printed.
"""
import argparse
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

TIMEOUT = 30
PROBE_SECONDS_MAX = 10


def encode(*words):
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


class Wrong(Exception):
    """The server did what it should not."""


class Peer:
    """A plain connection that speaks RESP2."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", buffering=1 << 16)

    def send(self, *words):
        self.socket.sendall(encode(*words))

    def command(self, *words):
        self.send(*words)
        return self.reply()

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the connection has ended")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            if rest == b"-1":
                return None
            bytes = self.file.read(int(rest) + 2)
            if len(bytes) != int(rest) + 2:
                raise ConnectionError("the connection has ended")
            return bytes[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        if kind == b"-":
            raise Wrong(rest.decode(errors="replace"))
        if kind == b"+":
            return rest
        raise Wrong(f"no reply begins with {line[:20]}")

    def reset(self):
        """Goes away without a goodbye: the server's next write fails."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def expect(found, wanted):
    if found != wanted:
        raise Wrong(f"{str(wanted)[:100]} was expected, {str(found)[:100]} came")


# What a worker does in a life: gets the port, its random numbers, and a name that is its own.

def short_life(port, numbers, name):
    with Peer(port) as peer:
        value = numbers.randbytes(numbers.randrange(100))
        expect(peer.command("SET", name, value), b"OK")
        expect(peer.command("GET", name), value)


def torn_request(port, numbers, name):
    peer = Peer(port)
    request = encode("SET", name, numbers.randbytes(numbers.choice([10, 1000, 100_000])))
    peer.socket.sendall(request[:numbers.randrange(1, len(request))])
    if numbers.random() < 0.5:
        peer.reset()
    else:
        peer.close()


def half_closed(port, numbers, name):
    """A peer that ends its side still gets all replies."""
    with Peer(port) as peer:
        count = numbers.randrange(1, 2000)
        peer.socket.sendall(encode("ECHO", name) * count)
        peer.socket.shutdown(socket.SHUT_WR)
        for _ in range(count):
            expect(peer.reply(), name.encode())
        expect(peer.file.read(1), b"")


def pipelines(port, numbers, name):
    with Peer(port) as peer:
        for _ in range(numbers.randrange(1, 10)):
            count = numbers.randrange(1, 300)
            expect(peer.command("DEL", name) in (0, 1), True)
            peer.socket.sendall(encode("INCR", name) * count)
            for index in range(count):
                expect(peer.reply(), index + 1)


def large_value(port, numbers, name):
    with Peer(port) as peer:
        value = numbers.randbytes(1 << numbers.randrange(12, 23))
        sender = threading.Thread(target=lambda: [peer.send("SET", name, value), peer.send("GET", name)])
        sender.start()
        expect(peer.reply(), b"OK")
        expect(peer.reply(), value)
        sender.join()
        expect(peer.command("DEL", name), 1)


def slow_reader(port, numbers, name):
    """Asks for more than the sockets hold and takes it slowly, or goes away."""
    with Peer(port) as peer:
        peer.command("SET", name, b"x" * 200_000)
        count = 30
        peer.socket.sendall(encode("GET", name) * count)
        goes = numbers.random() < 0.5
        for index in range(count):
            if goes and index == 3:
                return peer.reset()
            expect(len(peer.reply()), 200_000)
            time.sleep(0.01)


def never_reads(port, numbers, name):
    peer = Peer(port)
    peer.command("SET", name, b"x" * 100_000)
    peer.socket.sendall(encode("GET", name) * 100)
    time.sleep(numbers.random())
    peer.reset()


def blocked(port, numbers, name):
    with Peer(port) as waiting, Peer(port) as serving:
        waiting.send("BLPOP", name, 10)
        time.sleep(numbers.random() * 0.05)
        expect(serving.command("RPUSH", name, "element") > 0, True)
        expect(waiting.reply(), [name.encode(), b"element"])
        waiting.send("BLMOVE", name, name + ":to", "LEFT", "RIGHT", 0.02)
        expect(waiting.reply(), None)


def blocked_and_gone(port, numbers, name):
    peer = Peer(port)
    peer.send(numbers.choice(["BLPOP", "BZPOPMIN"]), name + ":never", 0)
    time.sleep(numbers.random() * 0.1)
    if numbers.random() < 0.5:
        peer.reset()
    else:
        peer.close()


def messages(port, numbers, name):
    # The server may not have seen yet that the subscriber of an earlier life is gone.
    name += f":{numbers.getrandbits(32)}"
    with Peer(port) as subscriber, Peer(port) as publisher:
        expect(subscriber.command("SUBSCRIBE", name), [b"subscribe", name.encode(), 1])
        count = numbers.randrange(1, 500)
        publisher.socket.sendall(encode("PUBLISH", name, b"message") * count)
        for _ in range(count):
            expect(publisher.reply(), 1)
        for _ in range(count):
            expect(subscriber.reply(), [b"message", name.encode(), b"message"])


def transaction(port, numbers, name):
    with Peer(port) as peer:
        peer.command("WATCH", name)
        expect(peer.command("MULTI"), b"OK")
        count = numbers.randrange(1, 50)
        for _ in range(count):
            expect(peer.command("RPUSH", name + ":list", "element"), b"QUEUED")
        if numbers.random() < 0.3:
            return
        expect(len(peer.command("EXEC")), count)
        expect(peer.command("LTRIM", name + ":list", 1, 0), b"OK")


def killed(port, numbers, name):
    with Peer(port) as victim, Peer(port) as other:
        identifier = victim.command("CLIENT", "ID")
        victim.socket.sendall(encode("ECHO", "x" * 1000) * numbers.randrange(1, 200))
        expect(other.command("CLIENT", "KILL", "ID", identifier), 1)
        try:
            while True:
                victim.reply()
        except ConnectionError:
            pass


def collections(port, numbers, name):
    with Peer(port) as peer:
        words = [word for index in range(500) for word in (f"field:{index}", numbers.randrange(1000))]
        # An earlier life has left a deadline.
        peer.command("DEL", name + ":hash")
        peer.command("HSET", name + ":hash", *words)
        expect(len(peer.command("HGETALL", name + ":hash")), 1000)
        peer.command("ZADD", name + ":sorted", *[word for index in range(500) for word in (index, f"member:{index}")])
        expect(len(peer.command("ZRANGE", name + ":sorted", 0, -1)), 500)
        peer.command("EXPIRE", name + ":hash", 1)
        expect(peer.command("DEL", name + ":sorted"), 1)


LIVES = [
    short_life, torn_request, half_closed, pipelines, large_value, slow_reader, never_reads, blocked, blocked_and_gone,
    messages, transaction, killed, collections,
]


class Soak:
    def __init__(self, options):
        self.options = options
        self.problems = []
        self.counts = dict.fromkeys([life.__name__ for life in LIVES], 0)
        self.lock = threading.Lock()
        self.isEnded = threading.Event()
        self.slowest = 0.0

    def note(self, problem):
        with self.lock:
            self.problems.append(problem)
        self.isEnded.set()

    def work(self, port, number, until):
        numbers = random.Random(f"{self.options.seed} {number} {until}")
        while time.monotonic() < until and not self.isEnded.is_set():
            life = numbers.choice(LIVES)
            try:
                life(port, numbers, f"soak:{number}:{life.__name__}")
            except BrokenPipeError:
                pass
            except (Wrong, OSError, ValueError) as error:
                # Whoever is killed or resets may see the connection end anywhere.
                if not (life in (killed, torn_request, never_reads) and isinstance(error, OSError)):
                    self.note(f"{life.__name__}: {type(error).__name__}: {error}")
            with self.lock:
                self.counts[life.__name__] += 1

    def probe(self, port, until):
        with Peer(port) as peer:
            while time.monotonic() < until and not self.isEnded.is_set():
                began = time.monotonic()
                try:
                    peer.command("PING")
                except (Wrong, OSError) as error:
                    return self.note(f"the probe: {error}")
                self.slowest = max(self.slowest, time.monotonic() - began)
                time.sleep(0.005)

    def run(self, port, seconds):
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=self.work, args=(port, number, until))
                   for number in range(self.options.workers)]
        threads.append(threading.Thread(target=self.probe, args=(port, until)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def figures(port, pid):
    """Of a quiet moment: resident bytes, descriptors, and what INFO says of clients."""
    with Peer(port) as peer:
        peer.command("FLUSHALL")
        for _ in range(100):
            info = dict(line.split(":", 1) for line in peer.command("INFO").decode().splitlines() if ":" in line)
            if info["connected_clients"] == "1" and info["blocked_clients"] == "0":
                break
            time.sleep(0.1)
        expect(peer.command("MEMORY", "PURGE"), b"OK")
        time.sleep(2)
        with open(f"/proc/{pid}/smaps_rollup") as file:
            resident = next(int(line.split()[1]) for line in file if line.startswith("Rss:")) * 1024
        return {
            "resident": resident, "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "clients": int(info["connected_clients"]), "blocked": int(info["blocked_clients"]),
            "channels": int(info["pubsub_channels"]), "output": peer.command("CLIENT", "LIST").count(b"\n"),
        }


def start(options, folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = open(os.path.join(folder, "log"), "wb")
    process = subprocess.Popen(
        [options.server_binary, "server", "--port", str(port), "--dir", folder, "--save", ""] + options.arguments,
        stdout=log, stderr=log)
    for _ in range(200):
        try:
            with Peer(port) as peer:
                expect(peer.command("PING"), b"PONG")
            return process, port
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    sys.exit("the server does not start:\n" + open(log.name, errors="replace").read())


def judge(options, soak, first, last):
    problems = list(soak.problems)
    growth = (last["resident"] - first["resident"]) / 2**20
    if growth > options.growth:
        problems.append(f"memory has grown by {growth:.1f} MiB")
    for name in ("descriptors", "clients", "blocked", "channels", "output"):
        if last[name] > first[name]:
            problems.append(f"{name}: {first[name]} before, {last[name]} in the end")
    if soak.slowest > PROBE_SECONDS_MAX:
        problems.append(f"the probe waited for {soak.slowest:.1f} s")
    print(f"{sum(soak.counts.values()):,} lives: " + ", ".join(f"{name} {count}" for name, count in soak.counts.items()))
    print(f"resident {first['resident'] / 2**20:.1f} MiB after the first tenth, {last['resident'] / 2**20:.1f} in the end;"
          f" descriptors {first['descriptors']}, {last['descriptors']}; longest wait of the probe {soak.slowest:.2f} s")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--server-binary", required=True)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--workers", type=int, default=24)
    parser.add_argument("--growth", type=float, default=16, help="MiB")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("arguments", nargs="*", help="of the server, behind --")
    options = parser.parse_args()
    print(f"soak of {options.seconds:.0f} s, seed {options.seed}", flush=True)
    folder = tempfile.mkdtemp(prefix="kedis-soak-")
    process, port = start(options, folder)
    soak = Soak(options)
    try:
        soak.run(port, options.seconds / 10)
        first = figures(port, process.pid)
        soak.run(port, options.seconds * 9 / 10)
        last = figures(port, process.pid)
        problems = judge(options, soak, first, last)
        if process.poll() is not None:
            problems.append(f"the server has ended with {process.returncode}")
    finally:
        process.terminate()
        process.wait(20)
        log = open(os.path.join(folder, "log"), errors="replace").read()
        shutil.rmtree(folder, ignore_errors=True)
    for problem in problems:
        print("FAILED: " + problem)
    if problems:
        sys.exit("the last lines of the log:\n" + "\n".join(log.splitlines()[-20:]))
    print("passed")


if __name__ == "__main__":
    main()
