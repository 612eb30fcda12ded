"""redis-cli at a terminal, as a person uses it: prompt, replies, help, hints, change of database, reconnection.

Run by Tests/clients/run, which starts the server and sets KEDIS_PORT. redis-cli asks COMMAND DOCS when it starts at a
terminal, so this shows too that our answer is in the form that it reads.
"""

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

from checks import check, run

PORT = os.environ["KEDIS_PORT"]
PROMPT = rb"(127\.0\.0\.1:\d+(\[\d+\])?|not connected)> "
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """A redis-cli on a pseudo terminal."""

    def __init__(self, *arguments):
        self.process, self.descriptor = pty.fork()
        if self.process == 0:
            # A terminal that does not say its size would be asked for it, and nobody here answers.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
            os.environ["TERM"] = "xterm"
            os.environ["REDISCLI_HISTFILE"] = "/dev/null"
            os.environ["REDISCLI_RCFILE"] = "/dev/null"
            os.execvp("redis-cli", ["redis-cli", "-p", PORT, *arguments])
        self.seen = b""

    def until(self, pattern, seconds=10):
        """Reads until the pattern comes after what was found before; returns the text up to its end."""
        deadline = time.monotonic() + seconds
        while True:
            plain = ESCAPES.sub(b"", self.seen)
            found = re.search(pattern, plain)
            if found:
                self.seen = plain[found.end():]
                return plain[: found.end()].decode(errors="replace")
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.descriptor], [], [], left)[0]:
                raise AssertionError(f"no {pattern!r} in {seconds} s; last seen: {plain[-400:]!r}")
            try:
                chunk = os.read(self.descriptor, 65536)
            except OSError:
                chunk = b""
            if not chunk:
                raise AssertionError(f"ended before {pattern!r}; last seen: {plain[-400:]!r}")
            self.seen += chunk

    def type(self, text):
        """Types a text. Only after a prompt: what comes while redis-cli sets up the terminal is thrown away."""
        os.write(self.descriptor, text.encode())

    def ask(self, line, answer):
        """Types a line, and waits for the answer and the next prompt."""
        self.type(line + "\r")
        text = self.until(answer)
        self.until(PROMPT)
        return text

    def leave(self):
        self.type("exit\r")
        for _ in range(100):
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        os.kill(self.process, 9)
        os.waitpid(self.process, 0)
        raise AssertionError("redis-cli does not leave")


@check("a session: prompt, replies, help")
def session():
    terminal = Terminal()
    terminal.until(PROMPT)
    terminal.ask("SET name Karthik", rb"\r\nOK\r\n")
    terminal.ask("GET name", rb'\r\n"Karthik"\r\n')
    terminal.ask("GET none", rb"\r\n\(nil\)\r\n")
    terminal.ask("EXISTS name", rb"\r\n\(integer\) 1\r\n")
    terminal.ask("MGET name none", rb'\r\n1\) "Karthik"\r\n2\) \(nil\)\r\n')
    terminal.ask("INCR name", rb"\r\n\(error\) ERR value is not an integer or out of range\r\n")
    terminal.ask("help SET", rb"since: 1\.0\.0\r+\n")
    assert terminal.leave() == 0


@check("the hint shows the arguments of a command")
def hint():
    terminal = Terminal()
    terminal.until(PROMPT)
    terminal.type("GETRANGE ")
    terminal.until(rb"key start end")
    terminal.type("name 0 1\r")
    terminal.until(rb'\r\n"Ka"\r\n')
    terminal.until(PROMPT)
    assert terminal.leave() == 0


@check("SELECT changes the prompt")
def select_database():
    terminal = Terminal()
    terminal.until(PROMPT)
    terminal.type("SELECT 5\r")
    terminal.until(rb"\r\nOK\r\n")
    terminal.until(rb"127\.0\.0\.1:\d+\[5\]> ")
    terminal.ask("DBSIZE", rb"\r\n\(integer\) 0\r\n")
    assert terminal.leave() == 0


@check("HELLO 3 in a session, and a map as a map")
def third_protocol():
    terminal = Terminal()
    terminal.until(PROMPT)
    terminal.ask("HELLO 3", rb'1# "server" => "')
    terminal.ask("CONFIG GET proto-max-bulk-len", rb'1# "proto-max-bulk-len" => "536870912"\r\n')
    assert terminal.leave() == 0


@check("redis-cli connects again after its connection was killed")
def reconnect():
    terminal = Terminal()
    terminal.until(PROMPT)
    found = terminal.ask("CLIENT ID", rb"\(integer\) \d+\r\n")
    number = re.search(r"\(integer\) (\d+)\r\n$", found).group(1)
    other = Terminal()
    other.until(PROMPT)
    other.ask(f"CLIENT KILL ID {number}", rb"\r\n\(integer\) 1\r\n")
    terminal.ask("PING", rb"PONG|Server closed the connection")
    terminal.ask("PING", rb"\r\nPONG\r\n")
    assert terminal.leave() == 0
    assert other.leave() == 0


if __name__ == "__main__":
    sys.exit(run())
