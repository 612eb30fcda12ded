#!/usr/bin/env python3
"""What 10,000 clients cost that wait in BLPOP: redis-server and kedis server in one run.

They connect, then half of them wait at one key, half at keys of their own, every second one with a timeout that is far
away. Printed: resident bytes a connection, and more a waiting client; the server's CPU while nothing happens, with the
connections and with the waiting clients; the server's CPU for each push that serves one of them, while all wait and
while few do; and what is left when all have disconnected, also after MEMORY PURGE.

    Benchmarks/blocked-clients.py [--clients 10000] [--seconds 5] [--rounds 3] [--json]

It needs Linux, redis-server on the path, a release build of kedis, and twice as many files as clients (ulimit -n).
"""
import argparse
import glob
import resource
import socket
import sys
import time

sys.dont_write_bytecode = True
from servers import Server, add_kedis_option, encode, kedis_command, print_row, redis_command, require  # noqa: E402


def cpu_nanoseconds(server):
    """The time on a processor of all threads, by the scheduler: finer than clock ticks."""
    total = 0
    for path in glob.glob(f"/proc/{server.process.pid}/task/*/schedstat"):
        with open(path) as file:
            total += int(file.read().split()[0])
    return total


def idle_percent(server, seconds):
    """The server's CPU while nobody asks anything, in percent of a core."""
    time.sleep(0.5)
    before, start = cpu_nanoseconds(server), time.monotonic()
    time.sleep(seconds)
    return (cpu_nanoseconds(server) - before) / (time.monotonic() - start) / 1e7


def connect(server, count):
    clients = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", server.port), 60)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        clients.append(client)
    return clients


def wait_for(connection, field, count):
    deadline = time.monotonic() + 60
    while connection.info(field) != count:
        if time.monotonic() > deadline:
            sys.exit(f"{field} is {connection.info(field)}, and not {count}")
        time.sleep(0.05)


def key_of(index):
    return "shared" if index % 2 == 0 else f"own:{index}"


def block(connection, clients):
    for index, client in enumerate(clients):
        client.sendall(encode("BLPOP", key_of(index), 0 if index % 4 < 2 else 86400))
    wait_for(connection, "blocked_clients", len(clients))


def microseconds_a_service(server, connection, clients, indices):
    """The server's CPU for a push and the reply of the client that it serves."""
    # A shared key serves who blocked first, so the clients of `indices` are those who are next.
    before = cpu_nanoseconds(server)
    for index in indices:
        connection.command("RPUSH", key_of(index), "element")
        reply = clients[index].recv(200)
        if not reply.endswith(b"$7\r\nelement\r\n"):
            sys.exit(f"client {index} was not served: {reply}")
    return (cpu_nanoseconds(server) - before) / len(indices) / 1000


def measure(server, options):
    row = {"server": server.name, "clients": options.clients}
    with server.connect() as connection:
        connection.command("PING")
        empty = server.resident_bytes()
        row["idle_percent_alone"] = round(idle_percent(server, options.seconds), 3)
        clients = connect(server, options.clients)
        wait_for(connection, "connected_clients", options.clients + 1)
        connected = server.resident_bytes()
        row["idle_percent_connected"] = round(idle_percent(server, options.seconds), 3)
        block(connection, clients)
        blocked = server.resident_bytes()
        row["bytes_a_connection"] = (connected - empty) // options.clients
        row["bytes_more_a_waiting_client"] = (blocked - connected) // options.clients
        row["idle_percent_waiting"] = round(idle_percent(server, options.seconds), 3)
        half = min(1000, options.clients // 4)
        row["service_us_all_waiting"] = round(
            microseconds_a_service(server, connection, clients, range(half)), 2)
        for client in clients[2 * half:]:
            client.close()
        wait_for(connection, "blocked_clients", half)
        wait_for(connection, "connected_clients", 2 * half + 1)
        time.sleep(1)
        row["service_us_few_waiting"] = round(
            microseconds_a_service(server, connection, clients, range(half, 2 * half)), 2)
        for client in clients[:2 * half]:
            client.close()
        wait_for(connection, "connected_clients", 1)
        time.sleep(1)
        row["resident_mib_before"] = round(empty / 2**20, 1)
        row["resident_mib_waiting"] = round(blocked / 2**20, 1)
        row["resident_mib_after"] = round(server.resident_bytes() / 2**20, 1)
        connection.command("MEMORY", "PURGE")
        row["resident_mib_purged"] = round(server.resident_bytes() / 2**20, 1)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    add_kedis_option(parser)
    options = parser.parse_args()
    require(options.kedis, ["redis-server"])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < options.clients + 200:
        sys.exit(f"{options.clients} clients need as many files: ulimit -n is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    limit = ["--maxclients", str(options.clients + 100)]
    for _ in range(options.rounds):
        for name, command in (("redis-server", redis_command()), ("kedis server", kedis_command(options.kedis))):
            with Server(name, command + limit) as server:
                row = measure(server, options)
            print_row(row, options.json)


if __name__ == "__main__":
    main()
