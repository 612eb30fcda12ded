#!/usr/bin/env python3
"""Kills `kedis server` at random moments, starts it again, and looks for what it had confirmed.

Writers with numbered values: lists that grow by one element at a time, counters, transactions that set two keys; a
reader notes the highest counters that it was shown. Meanwhile the journal begins new files and new base snapshots, and
snapshots are saved. After each SIGKILL `kedis check` must find journal and snapshot good, and after the restart:

    always    every confirmed write is there, every value that was read, nothing out of order, no transaction half done
    everysec  the same, but for what was confirmed within the last second before the kill

With --switch the journal is ended and begun again (CONFIG SET appendonly) under the writers, once or more before each
kill, sometimes with a snapshot between. When it counts again at the kill (aof_rewrite_in_progress is 0), all of the above holds; when it
does not, it holds for what was confirmed before it was ended: that, or something younger, is what a start finds.

    Tests/clients/kill-rounds.py --server-binary .build/release/kedis [--rounds 20] [--policy always|everysec] [--seed N] [--switch]

It needs Python's redis package. The seed is printed; moments of kills are real time, so a run repeats in kind only.
"""
import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import redis

WRITERS = 6
# What the log says of a snapshot.
SAVED = "DB saved on disk"
FILLER_COUNT = 50_000


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, binary, folder, policy):
        self.arguments = [
            binary, "server", "--dir", folder, "--save", "", "--appendonly", "yes", "--appendfsync", policy,
            "--journal-segment-size", "1mb", "--auto-aof-rewrite-min-size", "3mb", "--threads", "2",
            "--enable-debug-command", "local",
        ]
        self.binary, self.folder = binary, folder
        # The files of the journal that were seen when it was killed.
        self.segments = set()
        self.log = open(os.path.join(folder, "log"), "ab")
        self.process = None
        self.port = 0

    def start(self):
        self.port = free_port()
        self.process = subprocess.Popen(self.arguments + ["--port", str(self.port)], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                with self.connect() as client:
                    client.ping()
                    return
            except (redis.ConnectionError, redis.TimeoutError):
                if self.process.poll() is not None:
                    break
                time.sleep(0.02)
        sys.exit("the server does not start:\n" + open(self.log.name, errors="replace").read()[-2000:])

    def connect(self):
        return redis.Redis(port=self.port, socket_timeout=20, single_connection_client=True)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def check_files(self):
        """What `kedis check` has against what the kill has left: nothing, it must be."""
        journal = os.path.join(self.folder, "appendonlydir")
        self.segments.update(name for name in os.listdir(journal) if name.endswith(".kjl"))
        problems = []
        for path in [journal, os.path.join(self.folder, "dump.rdb")]:
            if not os.path.exists(path):
                continue
            result = subprocess.run(
                [self.binary, "check", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
            if result.returncode != 0:
                problems.append(f"kedis check {path}: {result.stdout.decode(errors='replace')[-500:]}")
        return problems


class Writer(threading.Thread):
    """Writes one number after the other in three ways, and knows which were confirmed, and when."""

    def __init__(self, server, number, start):
        super().__init__(daemon=True)
        self.server, self.number = server, number
        self.sent = start
        # (value, time of the confirmation), in order.
        self.confirmed = []
        self.failure = None

    def run(self):
        padding = b"x" * 300
        try:
            with self.server.connect() as client:
                while True:
                    value = self.sent + 1
                    self.sent = value
                    client.rpush(f"list:{self.number}", b"%d:%s" % (value, padding))
                    with client.pipeline(transaction=True) as transaction:
                        transaction.set(f"left:{self.number}", value)
                        transaction.set(f"right:{self.number}", value, ex=100_000)
                        transaction.execute()
                    client.incr(f"counter:{self.number}")
                    self.confirmed.append((value, time.monotonic()))
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            pass
        except Exception as error:  # what a writer does not expect is a failure of the round
            self.failure = error


class Reader(threading.Thread):
    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        # The highest value shown of each counter, with the time when it was first shown.
        self.seen = {}
        self.failure = None

    def run(self):
        names = [f"counter:{number}" for number in range(WRITERS)]
        try:
            with self.server.connect() as client:
                while True:
                    for name, value in zip(names, client.mget(names)):
                        if value is not None and int(value) > self.seen.get(name, (0, 0))[0]:
                            self.seen[name] = (int(value), time.monotonic())
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            pass
        except Exception as error:
            self.failure = error


class Round:
    def __init__(self, server, policy, values, switches):
        self.server, self.policy, self.values, self.switches = server, policy, values, switches
        self.problems = []

    def run(self, randomness):
        writers = [Writer(self.server, number, self.values[number]) for number in range(WRITERS)]
        reader = Reader(self.server)
        for thread in writers + [reader]:
            thread.start()
        end = time.monotonic() + randomness.uniform(0.1, 4.0 if self.switches else 2.0)
        # Since when nothing is promised; None while the journal counts.
        unsafe = None
        with self.server.connect() as client:
            while time.monotonic() < end:
                if self.switches:
                    unsafe = self.throw_switch(client, randomness, unsafe)
                works = (0.15, client.bgsave), (0 if self.switches else 0.2, client.bgrewriteaof)
                for chance, work in works:
                    if randomness.random() < chance:
                        try:
                            work()
                        except redis.ResponseError:
                            pass
                time.sleep(0.05)
        killed = min(time.monotonic(), unsafe or float("inf"))
        self.server.kill()
        for thread in writers + [reader]:
            thread.join(30)
            if thread.failure:
                self.problems.append(f"{type(thread).__name__}: {thread.failure!r}")
        self.problems += self.server.check_files()
        self.server.start()
        with self.server.connect() as client:
            for writer in writers:
                self.check(client, writer, killed)
            self.check_reader(client, reader, killed)
        return sum(len(writer.confirmed) for writer in writers)

    @staticmethod
    def throw_switch(client, randomness, unsafe):
        """One step, and since when nothing is promised."""
        choice = randomness.random()
        if unsafe is None:
            if choice < 0.4:
                unsafe = time.monotonic()
                client.config_set("appendonly", "no")
        elif choice < 0.5:
            client.config_set("appendonly", "yes")
        elif choice < 0.6:
            try:
                client.save()
            except redis.ResponseError as error:
                # BGSAVE goes on: it waits for the journal's disk, so it is met now and then.
                if "in progress" not in str(error):
                    raise
        if unsafe is not None and randomness.random() < 0.6:
            state = client.info("persistence")
            if state["aof_enabled"] and not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]:
                unsafe = None
        return unsafe

    def needed(self, confirmed, killed, first):
        """The highest value that has to be there."""
        margin = 0.0 if self.policy == "always" else 1.0
        return max([value for value, moment in confirmed if moment <= killed - margin], default=first)

    def check(self, client, writer, killed):
        number, first = writer.number, self.values[writer.number]
        needed = self.needed(writer.confirmed, killed, first)
        elements = [int(element.split(b":")[0]) for element in client.lrange(f"list:{number}", 0, -1)]
        if elements != list(range(1, len(elements) + 1)):
            self.problems.append(f"list:{number} is out of order or has holes")
        left, right = (int(value or 0) for value in client.mget(f"left:{number}", f"right:{number}"))
        counter = int(client.get(f"counter:{number}") or 0)
        for name, value in (("list", len(elements)), ("left", left), ("right", right), ("counter", counter)):
            if value < needed:
                self.problems.append(f"{name}:{number} is {value}, but {needed} was confirmed")
            if value > writer.sent:
                self.problems.append(f"{name}:{number} is {value}, but {writer.sent} was the last that was sent")
        if left != right:
            self.problems.append(f"a transaction is half done: left:{number} {left}, right:{number} {right}")
        # Where the three ways stand apart, the next round begins behind all of them.
        last = max(len(elements), left, counter)
        for value in range(len(elements) + 1, last + 1):
            client.rpush(f"list:{number}", f"{value}:")
        client.mset({f"left:{number}": last, f"right:{number}": last, f"counter:{number}": last})
        self.values[number] = last

    def check_reader(self, client, reader, killed):
        margin = 0.0 if self.policy == "always" else 1.0
        for name, (value, moment) in reader.seen.items():
            if moment > killed - margin:
                continue
            if int(client.get(name) or 0) < value:
                self.problems.append(f"{name} was read as {value} and is less now")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--server-binary", required=True)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--policy", choices=["always", "everysec"], action="append")
    parser.add_argument("--switch", action="store_true")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"kill rounds: seed {options.seed}", flush=True)
    randomness = random.Random(options.seed)
    for policy in options.policy or ["always", "everysec"]:
        folder = tempfile.mkdtemp(prefix="kill-rounds-")
        server = Server(options.server_binary, folder, policy)
        server.start()
        if options.switch:
            # So that a base takes a while, and kills come before it.
            with server.connect() as client:
                client.execute_command("DEBUG", "POPULATE", FILLER_COUNT, "filler", 100)
        values, confirmed = {number: 0 for number in range(WRITERS)}, 0
        for number in range(options.rounds):
            round = Round(server, policy, values, options.switch)
            confirmed += round.run(randomness)
            if round.problems:
                print("\n".join(round.problems[:20]))
                print(open(server.log.name, errors="replace").read()[-3000:])
                server.kill()
                sys.exit(f"{policy}: round {number} failed; the files are in {folder}")
        with server.connect() as client:
            information = client.info("persistence")
        server.kill()
        log = open(server.log.name, errors="replace").read()
        bases = log.count("has a new base")
        begun, lost = log.count("and counts when it has its first base"), log.count("ended before it had its first base")
        switches = f"{begun} beginnings, {lost} of them killed before their base, " if options.switch else ""
        print(f"{policy}: {options.rounds} kills, {3 * confirmed} confirmed writes, {switches}{bases} new bases, "
              f"{log.count(SAVED)} snapshots, {len(server.segments)} files of records, nothing is missing "
              f"(last record {information['journal_appended_sequence']})", flush=True)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
