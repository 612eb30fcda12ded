"""What a connection that does nothing costs: resident memory and CPU of servers with many idle clients.

    Benchmarks/idle-connections.py [--count 10000] kedis=.build/release/kedis\\ server redis=redis-server

Each client sends one PING and then nothing. The memory is that of the process with them, less that before them, by
client; the CPU is what the server uses in the ten seconds that follow, in percent of one core. Linux only.
"""
import argparse
import resource
import shlex
import socket
import time

from servers import Server


def measure(name, command, count):
    with Server(name, command + ["--maxclients", str(count + 100)]) as server:
        with server.connect() as first:
            first.command("PING")
        before = server.resident_bytes()
        clients = []
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", server.port), 60)
            client.sendall(b"PING\r\n")
            clients.append(client)
        for client in clients:
            assert client.recv(64) == b"+PONG\r\n"
        time.sleep(2)
        after = server.resident_bytes()
        before_cpu, began = server.cpu(), time.monotonic()
        time.sleep(10)
        cpu = server.cpu().since(before_cpu)
        share = (cpu.user + cpu.system) / (time.monotonic() - began)
        print(f"{name:10} {count} clients: {(after - before) / count / 1024:.1f} KiB each, {share * 100:.1f} % of a core")
        for client in clients:
            client.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("servers", nargs="+", help="name=command")
    arguments = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, arguments.count + 200), hard))
    for text in arguments.servers:
        name, command = text.split("=", 1)
        measure(name, shlex.split(command), arguments.count)


if __name__ == "__main__":
    main()
