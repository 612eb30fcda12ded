"""Servers under measurement: started on ports and in folders of their own, on loopback, without persistence.

Shared by the benchmarks that put redis-server and kedis server side by side. Every wait has an end; servers are ended
by their process, never by name. Linux only: figures come from /proc.
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")
KEY_BYTES = 16
VALUE_BYTES = 16


class CPUTime:
    """What the threads of a process spent on processors, in seconds."""

    def __init__(self, user, system):
        self.user = user
        self.system = system

    def since(self, before):
        return CPUTime(self.user - before.user, self.system - before.system)

    def per(self, count):
        """Microseconds for each of `count` commands: all, and the kernel's part."""
        return (self.user + self.system) / count * 1e6, self.system / count * 1e6


class Server:
    """A server process on a port and in a folder of its own. With `encryption` redis_benchmark uses its TLS port."""

    def __init__(self, name, command, encryption=None):
        self.name = name
        self.encryption = encryption
        self.command = command
        self.folder = tempfile.mkdtemp(prefix="benchmark-")
        self.port = free_port()
        self.log = open(os.path.join(self.folder, "log"), "wb")
        arguments = command + ["--port", str(self.port), "--dir", self.folder, "--save", ""]
        if encryption:
            self.tls_port = free_port()
            arguments += encryption.server_arguments(self.tls_port)
        self.process = subprocess.Popen(arguments, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 30
        while not answers(self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = open(self.log.name, errors="replace").read()
                self.stop()
                sys.exit(f"{name} does not start:\n{text}")
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            # The name in parentheses may hold blanks: fields count from behind it. 14 and 15 are utime and stime.
            fields = file.read().rpartition(")")[2].split()
        return CPUTime(int(fields[11]) / TICKS, int(fields[12]) / TICKS)

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Rss:")) * 1024

    def connect(self):
        return Connection(self.port)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Connection:
    """A plain socket that speaks RESP2: requests in, replies out. Waits at most a minute for a reply."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", buffering=1 << 16)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def command(self, *arguments):
        """One request, its reply as bytes, an integer, a list or None. An error ends the program."""
        self.socket.sendall(encode(*arguments))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        if kind != b"+":
            sys.exit(f"a request failed: {line.decode(errors='replace')}")
        return rest

    def info(self, field):
        """A number of INFO."""
        for line in self.command("INFO").decode().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value)
        sys.exit(f"INFO has no {field}")

    def set_all(self, requests):
        """Sends SETs, at most a thousand, so that neither side waits for the other's buffers."""
        self.socket.sendall(b"".join(requests))
        replies = self.file.read(5 * len(requests))
        if replies != b"+OK\r\n" * len(requests):
            sys.exit("a SET failed: " + replies.replace(b"+OK\r\n", b"")[:200].decode(errors="replace"))


class Pipe:
    """One connection that sends requests in pipelines and counts replies by reading until an ECHO comes back."""

    def __init__(self, server, pipeline=16):
        self.server = server
        self.pipeline = pipeline

    def send(self, requests):
        with self.server.connect() as connection:
            for start in range(0, len(requests), self.pipeline):
                connection.socket.sendall(b"".join(requests[start:start + self.pipeline]) + encode("ECHO", "<end>"))
                tail = b""
                while not tail.endswith(b"<end>\r\n"):
                    received = connection.socket.recv(1 << 20)
                    if not received:
                        sys.exit(f"{self.server.name} has closed the connection")
                    tail = tail[-16:] + received

    def cost(self, requests):
        """Microseconds of the server for each request: all, and the kernel's part."""
        before = self.server.cpu()
        self.send(requests)
        return self.server.cpu().since(before).per(len(requests))


class Encryption:
    """Certificates for a run, made by the openssl command, and the arguments that servers and clients get."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="benchmark-tls-")
        here = os.path.dirname(os.path.abspath(__file__))
        script = os.path.join(here, "..", "Tests", "clients", "make-certificates.sh")
        subprocess.run(["sh", script, self.folder], check=True, capture_output=True, timeout=60)

    def server_arguments(self, port):
        return [
            "--tls-port", str(port), "--tls-cert-file", f"{self.folder}/server.crt",
            "--tls-key-file", f"{self.folder}/server.key", "--tls-auth-clients", "no",
        ]

    def client_arguments(self):
        return ["--tls", "--cacert", f"{self.folder}/ca.crt"]

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def preload_strings(server, key_count, value_bytes):
    """Sets every key that redis-benchmark will ask for."""
    value = b"x" * value_bytes
    with server.connect() as connection:
        for first in range(0, key_count, 1000):
            connection.set_all([
                b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n%s\r\n" % (index, value_bytes, value)
                for index in range(first, min(first + 1000, key_count))
            ])


def redis_benchmark(server, command, count, keyspace, connections=50, pipeline=1, value_bytes=3):
    """Has redis-benchmark send `command` `count` times, `__rand_int__` in it below `keyspace`. Returns the seconds."""
    port = server.tls_port if server.encryption else server.port
    arguments = [
        "timeout", "300", "redis-benchmark", "-p", str(port), "-c", str(connections), "-d", str(value_bytes),
        "-r", str(keyspace), "-n", str(count), "-P", str(pipeline), "-q",
    ]
    if server.encryption:
        arguments += server.encryption.client_arguments()
    start = time.monotonic()
    result = subprocess.run(arguments + command, capture_output=True, text=True)
    if result.returncode != 0 or server.process.poll() is not None:
        sys.exit(f"redis-benchmark against {server.name} failed:\n{result.stdout}{result.stderr}")
    return time.monotonic() - start


def encode(*arguments):
    parts = [one if isinstance(one, bytes) else str(one).encode() for one in arguments]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def fill(server, count, deadlines=False):
    """Sets `count` keys of 16 bytes to values of 16 bytes, with deadlines from an hour to a day ahead if wanted."""
    plain = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$16\r\nval:%012d\r\n"
    armed = b"*5\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$16\r\nval:%012d\r\n$2\r\nPX\r\n$8\r\n%d\r\n"
    with server.connect() as connection:
        for first in range(0, count, 1000):
            indices = range(first, min(first + 1000, count))
            if deadlines:
                requests = [armed % (i, i, 10_000_000 + i * 2_654_435_761 % 80_000_000) for i in indices]
            else:
                requests = [plain % (i, i) for i in indices]
            connection.set_all(requests)


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


def add_kedis_option(parser):
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--kedis", default=os.path.join(here, "..", ".build", "release", "kedis"))


def add_generator_option(parser):
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument(
        "--generator", default=os.path.join(here, "..", ".build", "release", "kedis-benchmark"), help="kedis-benchmark")


def require_generator(generator):
    if not os.access(generator, os.X_OK):
        sys.exit(f"there is no {generator}: swift build -c release --product kedis-benchmark")


def require(kedis, tools):
    """Ends the program unless what it needs is there."""
    for tool in tools:
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed")
    if not os.access(kedis, os.X_OK):
        sys.exit(f"there is no {kedis}: swift build -c release --product kedis")


def redis_command():
    """Redis's default configuration: what differs is in the arguments that every server gets."""
    return ["redis-server"]


def kedis_command(path, threads=1):
    return [path, "server"] + (["--threads", str(threads)] if threads else [])


def counts(text):
    """`1000,2^20` as a list of numbers."""
    return [int(part.partition("^")[0]) ** int(part.partition("^")[2] or 1) for part in text.split(",")]


def print_row(row, as_json):
    """One row of figures by their names, for a reader or a script."""
    text = json.dumps(row) if as_json else "  ".join(f"{key} {value}" for key, value in row.items())
    print(text, flush=True)
