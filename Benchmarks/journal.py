#!/usr/bin/env python3
"""What a journal costs: kedis server and redis-server with `appendonly`, side by side in one run, on the same disk.

    always      SET by 50 clients without pipelines: requests a second, which the disk's syncs decide
    everysec    SET in pipelines of 1 and 16: server CPU per command with the journal over that without
    start       a journal of SETs is replayed: commands a second, and redis-server with its append-only file of the same

Servers take turns within each round; the table shows medians. It needs Linux, redis-server and redis-benchmark on the
path, and a release build of kedis. The folder for the files is made in --folder, which decides the disk.

    Benchmarks/journal.py [--rounds 5] [--folder /tmp] [--commands 2000000]
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import servers  # noqa: E402
from servers import Server, add_kedis_option, kedis_command, redis_benchmark, redis_command  # noqa: E402

CONNECTIONS = 50
VALUE_BYTES = 32
KEYS = 100_000
# Rewrites would be in the way of what is measured.
QUIET = ["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0", "--appendfsync"]


def always(options, kedis):
    with Server("redis-server", redis_command() + QUIET + ["always"]) as redis, \
            Server("kedis server", kedis + QUIET + ["always"]) as own:
        rates = {redis: [], own: []}
        for number in range(options.rounds):
            for server in (redis, own) if number % 2 == 0 else (own, redis):
                seconds = redis_benchmark(server, ["-t", "set"], options.syncs, KEYS, CONNECTIONS, 1, VALUE_BYTES)
                rates[server].append(options.syncs / seconds)
        redis_rate, own_rate = (statistics.median(rates[server]) for server in (redis, own))
    print(f"always     P=1   redis-server {redis_rate:,.0f} /s  kedis {own_rate:,.0f} /s  ratio {own_rate / redis_rate:.2f}",
          flush=True)


def everysec(options, kedis):
    with Server("with", kedis + QUIET + ["everysec"]) as journal, Server("without", kedis) as plain, \
            Server("redis with", redis_command() + QUIET + ["everysec"]) as redis_journal, \
            Server("redis without", redis_command()) as redis_plain:
        for pipeline, requests in ((1, 150_000), (16, 1_000_000)):
            cpu = {server: [] for server in (journal, plain, redis_journal, redis_plain)}
            for number in range(options.rounds):
                turn = list(cpu)
                for server in turn if number % 2 == 0 else reversed(turn):
                    before = server.cpu()
                    redis_benchmark(server, ["-t", "set"], requests, KEYS, CONNECTIONS, pipeline, VALUE_BYTES)
                    cpu[server].append(server.cpu().since(before).per(requests)[0])
            own = statistics.median(one / other for one, other in zip(cpu[journal], cpu[plain]))
            redis = statistics.median(one / other for one, other in zip(cpu[redis_journal], cpu[redis_plain]))
            times = {server.name: statistics.median(cpu[server]) for server in cpu}
            print(f"everysec   P={pipeline:<3} kedis {times['without']:.3f} -> {times['with']:.3f} µs, ratio {own:.3f}"
                  f"   redis-server {times['redis without']:.3f} -> {times['redis with']:.3f} µs, ratio {redis:.3f}",
                  flush=True)


def start(options, kedis):
    for name, command in (("redis-server", redis_command()), ("kedis", kedis)):
        server = Server(name, command + QUIET + ["no"])
        redis_benchmark(server, ["-t", "set"], options.commands, 1_000_000, CONNECTIONS, 16, VALUE_BYTES)
        with server.connect() as connection:
            count = connection.command("DBSIZE")
        server.process.terminate()
        server.process.wait()
        began = time.monotonic()
        process = subprocess.Popen(
            server.command + QUIET + ["no", "--port", str(server.port), "--dir", server.folder, "--save", ""],
            stdout=server.log, stderr=server.log)
        while True:
            try:
                with server.connect() as connection:
                    if connection.command("PING") == b"PONG" and connection.command("DBSIZE") == count:
                        break
            except (OSError, SystemExit):
                # Not there yet, or still loading.
                pass
            time.sleep(0.01)
            if time.monotonic() - began > 300:
                sys.exit(f"{name} does not come back")
        seconds = time.monotonic() - began
        process.kill()
        process.wait()
        server.stop()
        print(f"start      {name}: {options.commands:,} commands in {seconds:.2f} s, "
              f"{options.commands / seconds:,.0f} /s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_kedis_option(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--syncs", type=int, default=20_000, help="requests of a round with always")
    parser.add_argument("--commands", type=int, default=2_000_000, help="in the journal that is replayed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", help="where the servers' folders are made")
    parser.add_argument("--only-always", action="store_true")
    options = parser.parse_args()
    if options.folder:
        tempfile.tempdir = options.folder
    kedis = kedis_command(options.kedis, options.threads)
    always(options, kedis)
    if not options.only_always:
        everysec(options, kedis)
    if not options.only_always:
        start(options, kedis)


if __name__ == "__main__":
    main()
