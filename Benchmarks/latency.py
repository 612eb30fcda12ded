#!/usr/bin/env python3
"""How long requests take at half of the load that saturates redis-server: redis-server and kedis server in turns.

The load is kedis-benchmark's (`kedis-benchmark load`): GETs and SETs of 1 M keys, 32-byte values, 50 connections, sent
when they are due, and counted from then, answered or not what came before. First redis-server,
without a journal, is loaded as fast as it goes; all servers get half of that rate. Then, for each pipeline, with
and without a journal (`appendonly yes`, `appendfsync everysec`), in each situation:

    quiet       nothing else happens
    save        one BGSAVE after the other, as long as the load runs
    expiry      a million other keys whose deadlines lie within the time that is measured (--expiring)
    connects    1,000 clients a second connect, send a PING and leave

A row has medians over the rounds of p50, p99, p99.9 and the longest, in microseconds from due to answered. `late` is
the load generator's own part: p99.9 from due to sent. `cpu` is the server's processor time over the time that passed,
`count` how many saves or clients there were meanwhile.

It needs Linux, redis-server on the path, and release builds of kedis and kedis-benchmark.

    Benchmarks/latency.py [--pipelines 1,16] [--threads 1,2] [--journals no,yes]
                          [--situations quiet,save,expiry,connects] [--rounds 3] [--seconds 4] [--json]
"""
import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from servers import (  # noqa: E402
    Server, add_generator_option, add_kedis_option, counts, kedis_command, preload_strings, print_row, redis_command,
    require, require_generator,
)

VALUE_BYTES = 32
WARMUP_SECONDS = 0.5
CHUNK = 1000
CONNECTS_PER_SECOND = 1000
FIGURES = ["p50", "p99", "p99_9", "max", "late_p99_9"]


def load_command(server, pipeline, rate, seconds, options):
    return [
        "timeout", "300", options.generator, "load", "--port", str(server.port), "--rate", str(rate), "--pipeline",
        str(pipeline), "--connections", str(options.connections), "--seconds", str(seconds), "--warmup",
        str(WARMUP_SECONDS), "--keys", str(options.keys), "--value-bytes", str(VALUE_BYTES), "--json",
    ]


def result_of(process, server):
    """The row that the load generator prints."""
    output, errors = process.communicate(timeout=310)
    if process.returncode != 0 or server.process.poll() is not None:
        sys.exit(f"the load on {server.name} failed:\n{output}{errors}")
    row = json.loads(output.splitlines()[-1])
    if row["errors"]:
        sys.exit(f"{server.name} has refused {row['errors']} requests")
    return row


def start_load(server, pipeline, rate, seconds, options):
    command = load_command(server, pipeline, rate, seconds, options)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def save_until(process, connection):
    """One BGSAVE after the other until the load has ended; how many have ended."""
    saves = 0
    time.sleep(WARMUP_SECONDS / 2)
    while process.poll() is None:
        if not connection.info("rdb_bgsave_in_progress"):
            connection.command("BGSAVE")
            saves += 1
        time.sleep(0.02)
    while connection.info("rdb_bgsave_in_progress"):
        time.sleep(0.02)
    return saves


def connect_until(process, server):
    """Clients that come and go until the load has ended, each when it is due; how many there were."""
    began, count = time.monotonic(), 0
    while process.poll() is None:
        rest = began + count / CONNECTS_PER_SECOND - time.monotonic()
        if rest > 0:
            time.sleep(rest)
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"PING\r\n")
            if client.recv(64) != b"+PONG\r\n":
                sys.exit(f"{server.name} does not answer one who has just connected")
        count += 1
    return count


def set_expiring(connection, count, seconds):
    """Sets keys that expire while the load runs that is started when this returns."""
    # Long enough to set them, and then some.
    lead = count / 200_000 + 1.5
    first = int((time.time() + lead) * 1000)
    for start in range(0, count, CHUNK):
        connection.set_all([
            b"SET due:%012d val:%012d PXAT %d\r\n" % (index, index, first + int(index * seconds * 1000) // count)
            for index in range(start, min(start + CHUNK, count))
        ])
    rest = first / 1000 - WARMUP_SECONDS - 0.2 - time.time()
    if rest < 0:
        sys.exit("the machine is too slow for so many keys: see --expiring")
    time.sleep(rest)


def measure(server, pipeline, rate, situation, options):
    """One run of the load; the generator's row, with the server's share of a processor and the number of saves or clients."""
    with server.connect() as connection:
        if situation == "expiry":
            set_expiring(connection, options.expiring, options.seconds * 0.75)
        count = 0
        before, began = server.cpu(), time.monotonic()
        process = start_load(server, pipeline, rate, options.seconds, options)
        if situation == "save":
            count = save_until(process, connection)
        elif situation == "connects":
            count = connect_until(process, server)
        row = result_of(process, server)
        spent = server.cpu().since(before)
        row["cpu"] = (spent.user + spent.system) / (time.monotonic() - began)
        row["count"] = count
        if situation == "expiry":
            wait_for_expiry(connection, options)
    return row


def wait_for_expiry(connection, options):
    deadline = time.monotonic() + 60
    while connection.command("DBSIZE") > options.keys and time.monotonic() < deadline:
        time.sleep(0.1)


def saturating_rate(server, pipeline, options):
    process = start_load(server, pipeline, "max", min(2, options.seconds), options)
    return result_of(process, server)["rate"]


def make_servers(journal, options):
    arguments = ["--appendonly", journal, "--appendfsync", "everysec"]
    # A rewrite of the journal would be a save that nobody asked for.
    arguments += ["--auto-aof-rewrite-percentage", "0"]
    sides = [("redis-server", redis_command())]
    sides += [(f"kedis, {count}", kedis_command(options.kedis, count)) for count in options.threads]
    return [Server(name, command + arguments) for name, command in sides]


def run(journal, rates, options):
    servers = []
    try:
        servers = make_servers(journal, options)
        for server in servers:
            preload_strings(server, options.keys, VALUE_BYTES)
        for pipeline in options.pipelines:
            if pipeline not in rates:
                rates[pipeline] = saturating_rate(servers[0], pipeline, options) // 2
                note(f"P={pipeline}: {rates[pipeline]:,} requests a second, half of what saturates redis-server", options)
            for situation in options.situations:
                samples = {server.name: [] for server in servers}
                for _ in range(options.rounds):
                    for server in servers:
                        samples[server.name].append(measure(server, pipeline, rates[pipeline], situation, options))
                for name, rows in samples.items():
                    show(summary(name, journal, pipeline, situation, rates[pipeline], rows), options)
    finally:
        for server in servers:
            server.stop()


def summary(name, journal, pipeline, situation, rate, rows):
    row = {"benchmark": "latency", "server": name, "journal": journal, "pipeline": pipeline, "situation": situation,
           "rate": rate}
    for figure in FIGURES:
        row[figure] = round(statistics.median(one[figure] for one in rows), 1)
    row["p99_9_samples"] = [one["p99_9"] for one in rows]
    row["cpu"] = round(statistics.median(one["cpu"] for one in rows), 2)
    row["count"] = statistics.median(one["count"] for one in rows)
    return row


def note(text, options):
    if not options.json:
        print(text, flush=True)


def show(row, options):
    if options.json:
        print_row(row, True)
        return
    samples = " ".join(f"{one:.0f}" for one in row["p99_9_samples"])
    print(f"{row['server']:13} {row['journal']:>7} {row['pipeline']:>3} {row['situation']:>9} {row['p50']:8.0f} "
          f"{row['p99']:8.0f} {row['p99_9']:8.0f} {row['max']:8.0f} {row['late_p99_9']:8.0f} {row['cpu']:5.2f} "
          f"{row['count']:6.0f}  {samples}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_kedis_option(parser)
    add_generator_option(parser)
    parser.add_argument("--pipelines", type=counts, default=[1, 16])
    parser.add_argument("--threads", type=counts, default=[1, 2], help="event loops of kedis server")
    parser.add_argument("--journals", type=lambda text: text.split(","), default=["no", "yes"])
    parser.add_argument(
        "--situations", type=lambda text: text.split(","), default=["quiet", "save", "expiry", "connects"])
    parser.add_argument("--rates", type=counts, help="requests a second for each of the pipelines, instead of the half")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--expiring", type=int, default=1_000_000, help="keys that expire in that situation")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of each run")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each row")
    options = parser.parse_args()
    require(options.kedis, ["redis-server"])
    require_generator(options.generator)
    note(f"{'':13} {'journal':>7} {'P':>3} {'':>9} {'p50 us':>8} {'p99':>8} {'p99.9':>8} {'longest':>8} {'late':>8} "
         f"{'cpu':>5} {'count':>6}  p99.9 of each round", options)
    rates = dict(zip(options.pipelines, options.rates or []))
    for journal in options.journals:
        run(journal, rates, options)


if __name__ == "__main__":
    main()
