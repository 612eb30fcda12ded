#!/usr/bin/env python3
"""What BGSAVE costs those who write meanwhile: redis-server and kedis server in one run, one after the other.

Each is filled, then overwritten at random at full speed (redis-benchmark, 16 requests a pipeline), first without a save
and then with one, while a probe sets a key every millisecond:

    memory      the highest sum of what the server's processes have for themselves or share, over that before the save;
                in a save of its own, as whoever looks at it stops the server for a moment
    rate        writes a second during saves, and their share of those before it
    p99.9       of the probe, during saves and before them; a short save is repeated until the probe has set some
                thousand keys
    speed       bytes of the file a second, with nobody else there

With --same-rate kedis gets as many writes a second as redis-server had at full speed before its save, sent when they
are due by `kedis-benchmark load`: what a save costs those who ask no more of it.

It needs Linux, redis-server and redis-benchmark on the path, and a release build of kedis.

    Benchmarks/snapshot.py [--keys 10000000] [--values keys,hash,list,zset,stream] [--elements 10000000] [--same-rate]
                           [--json]
"""
import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
from servers import (  # noqa: E402
    Server, add_generator_option, add_kedis_option, encode, fill, kedis_command, redis_command, require,
    require_generator,
)

CONNECTIONS = 50
PIPELINE = 16
# A short save is repeated until the probe has so many samples, but not for ever.
SAMPLES = 3000
SAVES = 8
# Elements of one command when a collection is made.
CHUNK = 500

# A list and a stream keep their length, so that their own growth is not taken for that of a save.
LOADS = {
    "keys": ["SET", "key:__rand_int__", "val:__rand_int__"],
    "hash": ["HSET", "big", "f:__rand_int__", "v:__rand_int__"],
    "list": ["LMOVE", "big", "big", "RIGHT", "LEFT"],
    "zset": ["ZADD", "big", "__rand_int__", "m:__rand_int__"],
    "stream": ["XADD", "big", "MAXLEN", "~", "{count}", "*", "f", "v:__rand_int__"],
}


def fill_collection(server, kind, count):
    makers = {
        "hash": lambda i: ("f:%012d" % i, "v:%012d" % i),
        "list": lambda i: ("v:%012d" % i,),
        "zset": lambda i: (i, "m:%012d" % i),
    }
    heads = {"hash": "HSET", "list": "RPUSH", "zset": "ZADD"}
    with server.connect() as connection:
        if kind == "stream":
            for first in range(0, count, CHUNK):
                requests = [encode("XADD", "big", "%d-1" % (i + 1), "f", "v:%012d" % i)
                            for i in range(first, min(first + CHUNK, count))]
                send(connection, requests)
            return
        for first in range(0, count, CHUNK):
            words = [word for i in range(first, min(first + CHUNK, count)) for word in makers[kind](i)]
            connection.command(heads[kind], "big", *words)


def send(connection, requests):
    connection.socket.sendall(b"".join(requests))
    for _ in requests:
        connection.reply()


def processes(pid):
    """A process and its children."""
    children = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            with open(path) as file:
                children += [int(word) for word in file.read().split()]
        except OSError:
            pass
    return [pid] + children


def proportional_bytes(pid):
    total = 0
    for one in processes(pid):
        try:
            with open(f"/proc/{one}/smaps_rollup") as file:
                total += next(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024
        except (OSError, StopIteration):
            pass
    return total


class Probe:
    """Sets a key every millisecond and keeps how long each took."""

    def __init__(self, server):
        self.server = server
        self.samples = []

    def run(self):
        with self.server.connect() as connection:
            while not self.isEnded:
                began = time.perf_counter()
                connection.command("SET", "probe", "x")
                self.samples.append(time.perf_counter() - began)
                time.sleep(0.001)

    def __enter__(self):
        self.isEnded = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.isEnded = True
        self.thread.join()

    def percentile(self, share):
        ordered = sorted(self.samples)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0


class Load:
    def __init__(self, server, kind, keyspace, generator, rate):
        if rate:
            words = [generator, "load", "--port", str(server.port), "--rate", str(rate), "--pipeline", str(PIPELINE),
                     "--connections", str(CONNECTIONS), "--keys", str(keyspace), "--seconds", "600"]
        else:
            words = ["redis-benchmark", "-p", str(server.port), "-c", str(CONNECTIONS), "-P", str(PIPELINE), "-r",
                     str(keyspace), "-n", "2000000000", "-q"]
        words = ["timeout", "600"] + words
        words += [word.format(count=keyspace) for word in LOADS[kind]]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        time.sleep(1)
        return self

    def __exit__(self, *_):
        if self.process.poll() is not None:
            sys.exit("the load has ended before its time: what was measured was none")
        self.process.terminate()
        self.process.wait()


def save(server, connection, watch):
    """One BGSAVE; the seconds until it is there. `watch` is called meanwhile."""
    began = time.monotonic()
    connection.command("BGSAVE")
    while connection.info("rdb_bgsave_in_progress"):
        watch()
        time.sleep(0.05)
        if time.monotonic() - began > 300:
            sys.exit(f"{server.name}: the save does not end")
    if b"rdb_last_bgsave_status:ok" not in connection.command("INFO", "persistence"):
        sys.exit(f"{server.name}: the save failed")
    return time.monotonic() - began


def measure(name, command, kind, count, options, wanted_rate=None):
    row = {"benchmark": "snapshot", "server": name, "kind": kind, "count": count}
    with Server(name, command) as server, server.connect() as connection:
        if kind == "keys":
            fill(server, count)
        else:
            fill_collection(server, kind, count)
        time.sleep(2)
        quiet = save(server, connection, lambda: None)
        size = os.path.getsize(os.path.join(server.folder, "dump.rdb"))
        row["mb_per_second"] = round(size / quiet / 1e6, 1)
        with Load(server, kind, count, options.generator, wanted_rate):
            before = connection.info("total_commands_processed")
            began = time.monotonic()
            with Probe(server) as probe:
                time.sleep(options.seconds)
            rate = (connection.info("total_commands_processed") - before) / (time.monotonic() - began)
            row["rate_before"], row["p999_before_ms"] = round(rate), round(probe.percentile(0.999), 2)
            memory = proportional_bytes(server.process.pid)
            peak = [memory]
            save(server, connection, lambda: peak.append(proportional_bytes(server.process.pid)))
            probe, written, took = Probe(server), 0, []
            while len(probe.samples) < SAMPLES and len(took) < SAVES:
                before = connection.info("total_commands_processed")
                with probe:
                    took.append(save(server, connection, lambda: None))
                written += connection.info("total_commands_processed") - before
            row["rate_during"] = round(written / sum(took))
            row["p999_during_ms"] = round(probe.percentile(0.999), 2)
            row["max_during_ms"] = round(probe.percentile(1.0), 2)
            row["saves"], row["save_seconds"] = len(took), round(sum(took) / len(took), 2)
            row["memory_ratio"] = round(max(peak) / memory, 3)
            row["memory_mb"] = round(memory / 1e6)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_kedis_option(parser)
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--elements", type=int, default=10_000_000)
    parser.add_argument("--values", default="keys", help="of " + ",".join(LOADS))
    parser.add_argument("--seconds", type=float, default=5, help="of the load without a save")
    parser.add_argument("--only-kedis", action="store_true")
    parser.add_argument("--same-rate", action="store_true", help="no more writes for kedis than redis-server has")
    add_generator_option(parser)
    parser.add_argument("--folder", help="where the servers' folders are made")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each row")
    options = parser.parse_args()
    if options.folder:
        tempfile.tempdir = options.folder
    require(options.kedis, ["redis-server", "redis-benchmark"])
    if options.same_rate:
        require_generator(options.generator)
        if options.only_kedis:
            sys.exit("--same-rate wants redis-server's run")
    if not options.json:
        print(f"{'':14} {'':7} {'MB/s':>7} {'memory':>7} {'ratio':>6} {'writes/s':>10} {'during':>10} {'share':>6} "
              f"{'p99.9 ms':>9} {'during':>8} {'longest':>8} {'saves':>6} {'seconds':>8}")
    for kind in options.values.split(","):
        count = options.keys if kind == "keys" else options.elements
        commands = [("redis-server", redis_command()), ("kedis server", kedis_command(options.kedis))]
        rate = None
        for name, command in commands[1:] if options.only_kedis else commands:
            row = measure(name, command, kind, count, options, rate)
            if rate and abs(row["rate_before"] / rate - 1) > 0.03:
                sys.exit(f"{name} had {row['rate_before']:,} writes a second, not {rate:,}")
            if options.same_rate:
                rate = row["rate_before"]
            if options.json:
                print(json.dumps(row), flush=True)
                continue
            print(f"{name:14} {kind:7} {row['mb_per_second']:7.1f} {row['memory_mb']:7,} {row['memory_ratio']:6.2f} "
                  f"{row['rate_before']:10,} {row['rate_during']:10,} "
                  f"{row['rate_during'] / max(1, row['rate_before']):6.2f} {row['p999_before_ms']:9.2f} "
                  f"{row['p999_during_ms']:8.2f} {row['max_during_ms']:8.2f} {row['saves']:6} "
                  f"{row['save_seconds']:8.2f}", flush=True)


if __name__ == "__main__":
    main()
