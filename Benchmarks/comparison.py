"""Cases that are measured at redis-server and kedis server in turn, and the table of their ratios.

A case costs a server something: processor time for a command or resident bytes for an element. Servers take turns
within each round, so that both meet the same machine; a row shows medians over the rounds, the ratio of the two, and
whether that is what was wanted. Processor time is user and system time of all threads, from /proc, and the kernel's
part is shown beside it: what a transport costs is not the command's.
"""
import json
import os
import platform
import re
import statistics
import sys
import time

from servers import Pipe, Server, add_kedis_option, encode, kedis_command, redis_benchmark, redis_command


class Case:
    """One row: what a command or an element costs.

    `measure(server, round_number)` returns the whole cost and the kernel's part of it, None for memory.
    """

    def __init__(self, name, measure, wanted=None, unit="µs", is_steady=False):
        self.name = name
        self.measure = measure
        self.wanted = wanted
        self.unit = unit
        # The same in each round: one is enough.
        self.is_steady = is_steady


class Section:
    """Cases that share a pair of servers. `fill(server)` comes before them, `check(servers)` behind them."""

    def __init__(self, name, cases, fill=None, check=None):
        self.name = name
        self.cases = cases
        self.fill = fill
        self.check = check


def benchmark_case(name, command, count, wanted=None, prepare=None, keyspace=1_000_000, connections=50, pipeline=16):
    """`command` as redis-benchmark sends it; `prepare(server)` comes before each run and is not measured."""
    def measure(server, _):
        if prepare:
            prepare(server)
        before = server.cpu()
        redis_benchmark(server, command, count, keyspace, connections, pipeline)
        return server.cpu().since(before).per(count)
    return Case(name, measure, wanted)


def pipe_case(name, count, make, wanted=None, prepare=None, pipeline=16):
    """`count` requests over one connection; `make(round_number, index)` makes one."""
    def measure(server, round_number):
        if prepare:
            prepare(server)
        requests = [encode(*make(round_number, index)) for index in range(count)]
        return Pipe(server, pipeline).cost(requests)
    return Case(name, measure, wanted)


def add_options(parser):
    """The options of all programs that print such a table."""
    add_kedis_option(parser)
    parser.add_argument("--only", type=re.compile, default="", help="rows whose `section: name` this pattern finds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of requests")
    parser.add_argument("--threads", type=int, default=1, help="event loops of kedis server; 0 for its default")
    parser.add_argument("--json", help="also write the figures to this file")


def run(sections, options):
    """Measures all cases whose names are wanted, prints the table, and returns its rows."""
    print(f"{'':<44} {'redis':>10} {'kernel':>7} {'kedis':>10} {'kernel':>7} {'ratio':>6} {'wanted':>6}")
    rows = []
    for section in sections:
        cases = [case for case in section.cases if options.only.search(section.name + ": " + case.name)]
        if not cases:
            continue
        print(section.name, flush=True)
        command = kedis_command(options.kedis, options.threads) + ["--transport", getattr(options, "transport", "auto")]
        with Server("redis", redis_command()) as redis, \
                Server("kedis", command) as kedis:
            for server in (redis, kedis):
                if section.fill:
                    section.fill(server)
            for case in cases:
                rows.append(measure_case(section, case, (redis, kedis), options.rounds))
                show(rows[-1])
            if section.check:
                section.check((redis, kedis))
    return rows


def measure_case(section, case, servers, round_count):
    samples = [[], []]
    for round_number in range(1 if case.is_steady else round_count):
        for server, own in zip(servers, samples):
            own.append(case.measure(server, round_number))
            if server.process.poll() is not None:
                sys.exit(f"{server.name} has ended during {case.name}")
    row = {"section": section.name, "name": case.name, "unit": case.unit, "wanted": case.wanted}
    for server, own in zip(servers, samples):
        row[server.name] = statistics.median(total for total, _ in own)
        kernel = [kernel for _, kernel in own if kernel is not None]
        row[server.name + "_kernel"] = statistics.median(kernel) if kernel else None
        row[server.name + "_samples"] = [total for total, _ in own]
    row["ratio"] = row["kedis"] / row["redis"] if row["redis"] else None
    return row


def show(row):
    def number(value):
        if value is None:
            return ""
        return f"{value:.2f}" if value < 1000 else f"{value:,.0f}"

    verdict = ""
    if row["wanted"] is not None and row["ratio"] is not None:
        verdict = f"{row['wanted']:>6.2f}  " + ("met" if round(row["ratio"], 2) <= row["wanted"] else "NOT MET")
    print(
        f"  {row['name'] + ', ' + row['unit']:<42} {number(row['redis']):>10} {number(row['redis_kernel']):>7}"
        f" {number(row['kedis']):>10} {number(row['kedis_kernel']):>7} {number(row['ratio']):>6} {verdict}", flush=True)


def finish(rows, options):
    """Writes the file that is wanted, and says what was missed."""
    if options.json:
        save(options.json, rows, options)
    missed = [row["name"] for row in rows if row["wanted"] is not None and round(row["ratio"], 2) > row["wanted"]]
    print("all met" if not missed else f"not met: {', '.join(missed)}")


def save(path, rows, options):
    with open(path, "w") as file:
        json.dump({
            "date": time.strftime("%Y-%m-%d"), "machine": platform.processor() or platform.machine(),
            "cores": os.cpu_count(), "threads": options.threads, "rounds": options.rounds, "rows": rows,
        }, file, indent=2)
        file.write("\n")
