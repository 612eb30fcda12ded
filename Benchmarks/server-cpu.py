#!/usr/bin/env python3
"""Server CPU per command: redis-server and kedis server side by side, in one run.

The load is redis-benchmark's (GET and SET, pipelines of 1, 16 and 128, 50 connections, 32-byte values, 1 M keys). What is
measured is the time that the server's threads spent on processors, user and system, from /proc/PID/stat, over
the number of requests: unlike throughput it does not depend on how busy the load generator is. Servers take turns
within each round, and the table shows medians over the rounds.

    Benchmarks/server-cpu.py [--threads 1] [--rounds 3] [--keys 1000000] [--json FILE]

It needs Linux, redis-server and redis-benchmark on the path, and a release build of kedis.
"""
import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")
CONNECTIONS = 50
VALUE_BYTES = 32


class Server:
    """A server process on a port and in a folder of its own."""

    def __init__(self, name, command):
        self.name = name
        self.folder = tempfile.mkdtemp(prefix="server-cpu-")
        self.port = free_port()
        self.log = open(os.path.join(self.folder, "log"), "wb")
        arguments = command + ["--port", str(self.port), "--dir", self.folder, "--save", ""]
        self.process = subprocess.Popen(arguments, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 30
        while not answers(self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{name} does not start:\n" + open(self.log.name).read())
            time.sleep(0.05)

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            # The name in parentheses may hold blanks: fields count from behind it. 14 and 15 are utime and stime.
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def send_requests(port, payload, reply_count):
    """Sends `payload`, which asks for `reply_count` one-line replies, and waits for them."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(payload)
        seen = 0
        while seen < reply_count:
            seen += connection.recv(1 << 16).count(b"\r\n")


def preload(server, key_count):
    """Sets every key that redis-benchmark will ask for."""
    value = b"x" * VALUE_BYTES
    for start in range(0, key_count, 10000):
        stop = min(start + 10000, key_count)
        requests = [
            b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n%s\r\n" % (index, VALUE_BYTES, value)
            for index in range(start, stop)
        ]
        # In pieces small enough that neither side waits for the other's buffers.
        for first in range(0, len(requests), 1000):
            piece = requests[first:first + 1000]
            send_requests(server.port, b"".join(piece), len(piece))


def measure(server, command, pipeline, requests, keys):
    """Microseconds of server CPU per command, and commands per second."""
    arguments = [
        "redis-benchmark", "-p", str(server.port), "-c", str(CONNECTIONS), "-d", str(VALUE_BYTES), "-r", str(keys),
        "-n", str(requests), "-P", str(pipeline), "-t", command, "-q",
    ]
    before = server.cpu_seconds()
    start = time.monotonic()
    result = subprocess.run(["timeout", "120"] + arguments, capture_output=True, text=True)
    duration = time.monotonic() - start
    if result.returncode != 0 or server.process.poll() is not None:
        sys.exit(f"redis-benchmark against {server.name} failed:\n{result.stdout}{result.stderr}")
    return (server.cpu_seconds() - before) / requests * 1e6, requests / duration


def run(options):
    kedis = [options.kedis, "server"] + (["--threads", str(options.threads)] if options.threads else [])
    # Redis's default configuration, but for saving.
    servers = [Server("redis-server", ["redis-server"]), Server("kedis server", kedis)]
    rows = []
    try:
        for server in servers:
            preload(server, options.keys)
        for pipeline in options.pipelines:
            requests = int((300_000 if pipeline == 1 else 2_000_000) * options.scale)
            samples = {(server.name, command): [] for server in servers for command in ("set", "get")}
            for _ in range(options.rounds):
                for command in ("set", "get"):
                    for server in servers:
                        samples[server.name, command].append(measure(server, command, pipeline, requests, options.keys))
            for command in ("set", "get"):
                redis, own = (samples[server.name, command] for server in servers)
                redis_cpu, own_cpu = (statistics.median(cpu for cpu, _ in one) for one in (redis, own))
                rows.append({
                    "pipeline": pipeline, "command": command.upper(), "redis_us": redis_cpu, "kedis_us": own_cpu,
                    "ratio": own_cpu / redis_cpu,
                    "redis_per_second": statistics.median(rate for _, rate in redis),
                    "kedis_per_second": statistics.median(rate for _, rate in own),
                    "redis_samples_us": [cpu for cpu, _ in redis], "kedis_samples_us": [cpu for cpu, _ in own],
                })
                show(rows[-1])
        memory = {server.name: server.resident_bytes() for server in servers}
    finally:
        for server in servers:
            server.stop()
    return rows, memory


def show(row):
    print(
        f"{row['pipeline']:>8} {row['command']:>7} {row['redis_us']:>14.2f} {row['kedis_us']:>14.2f} {row['ratio']:>7.2f}"
        f" {row['redis_per_second']:>12,.0f} {row['kedis_per_second']:>12,.0f}", flush=True)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kedis", default=os.path.join(here, "..", ".build", "release", "kedis"))
    parser.add_argument("--threads", type=int, default=1, help="event loops of kedis server; 0 for its default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of requests")
    parser.add_argument("--pipelines", type=lambda text: [int(one) for one in text.split(",")], default=[1, 16, 128])
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    for tool in ("redis-server", "redis-benchmark"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed")
    if not os.access(options.kedis, os.X_OK):
        sys.exit(f"there is no {options.kedis}: swift build -c release --product kedis")
    print(f"{'pipeline':>8} {'command':>7} {'redis us/cmd':>14} {'kedis us/cmd':>14} {'ratio':>7} {'redis /s':>12} {'kedis /s':>12}")
    rows, memory = run(options)
    print("resident after the run: " + ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in memory.items()))
    if options.json:
        with open(options.json, "w") as file:
            json.dump({
                "date": time.strftime("%Y-%m-%d"), "machine": platform.processor() or platform.machine(),
                "cores": os.cpu_count(), "threads": options.threads, "keys": options.keys, "connections": CONNECTIONS,
                "value_bytes": VALUE_BYTES, "resident_bytes": memory, "rows": rows,
            }, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
