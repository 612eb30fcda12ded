#!/usr/bin/env python3
"""A full disk: the journal of `kedis server` in a file system with a few megabytes of room.

    always and everysec: writes are taken until the disk is full, then refused with MISCONF, while reads are answered; when
    there is room again, writes are taken again; after SIGKILL and a restart everything that was confirmed is there (but for
    the last second with everysec).

    Tests/clients/disk-full.py --server-binary .build/release/kedis

It needs Python's redis package and the right to mount a tmpfs; without that it says so and exits with 0.
"""
import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time

import redis

sys.dont_write_bytecode = True
import importlib  # noqa: E402

kill_rounds = importlib.import_module("kill-rounds")


ROOM_BYTES = 5 << 20
BALLAST_BYTES = 32 << 20


def wait_for(condition, what, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    sys.exit(f"in vain: {what}")


def fill(client, start, confirmed):
    """Writes until a write is refused, or the connection gives nothing any more; returns the error."""
    value = b"x" * 20_000
    for index in range(start, start + 5000):
        try:
            client.set(f"key:{index}", b"%d:%s" % (index, value))
            confirmed.append(index)
        except redis.ResponseError as error:
            return str(error)
        except redis.TimeoutError:
            return "timeout"
    sys.exit("the disk does not get full")


def takes_writes(server):
    try:
        with server.connect() as client:
            return client.set("probe", "1")
    except (redis.ResponseError, redis.TimeoutError):
        return False


def run(binary, policy, folder):
    # Room for everything that may wait in memory by then, which all has to be written before a write is taken again.
    ballast = os.path.join(folder, "ballast")
    with open(ballast, "wb") as file:
        file.write(b"b" * BALLAST_BYTES)
    server = kill_rounds.Server(binary, folder, policy)
    # A base would need room as well, and is tried again only after a minute.
    server.arguments += ["--auto-aof-rewrite-percentage", "0", "--threads", "1"]
    server.start()
    confirmed = []
    with redis.Redis(port=server.port, socket_timeout=2) as client:
        problem = fill(client, 0, confirmed)
    # With always, the write that met the full disk waits for it; the next one is refused.
    with server.connect() as client:
        def is_refused():
            try:
                client.set("more", "1")
            except redis.ResponseError as error:
                return str(error).startswith("MISCONF Errors writing to the AOF file")
            except redis.TimeoutError:
                client.close()
            return False
        wait_for(is_refused, f"writes are refused ({problem})")
    with server.connect() as client:
        began = time.monotonic()
        for index in confirmed[:100]:
            if not client.get(f"key:{index}").startswith(b"%d:" % index):
                sys.exit(f"{policy}: key:{index} cannot be read while the disk is full")
        if time.monotonic() - began > 2:
            sys.exit(f"{policy}: reads are slow while the disk is full")
        if client.info("persistence")["aof_last_write_status"] != "err":
            sys.exit(f"{policy}: INFO does not tell of the full disk")
    before = len(confirmed)
    os.unlink(ballast)
    wait_for(lambda: takes_writes(server), "writes go on when there is room")
    with server.connect() as client:
        for index in range(10_000, 10_050):
            client.set(f"key:{index}", f"{index}:")
            confirmed.append(index)
        if policy == "everysec":
            time.sleep(1.5)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    server.start()
    with server.connect() as client:
        missing = [index for index in confirmed if not (client.get(f"key:{index}") or b"").startswith(b"%d:" % index)]
    server.kill()
    if missing:
        sys.exit(f"{policy}: {len(missing)} confirmed keys are missing, the first is {missing[0]}")
    print(f"{policy}: {before} writes until the disk was full, {len(confirmed)} in all, nothing is missing", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--server-binary", required=True)
    options = parser.parse_args()
    for policy in ("always", "everysec"):
        folder = tempfile.mkdtemp(prefix="disk-full-")
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={BALLAST_BYTES + ROOM_BYTES}", "tmpfs", folder], stderr=subprocess.DEVNULL, check=False)
        if mounted.returncode != 0:
            os.rmdir(folder)
            print("a small file system cannot be mounted here: the full disk is not tried")
            return
        try:
            run(options.server_binary, policy, folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)
            os.rmdir(folder)


if __name__ == "__main__":
    main()
