"""What the Python scripts of the client checks share: a check is a function; one line for each, and an exit status.

Each check appends one line to the file KEDIS_CLIENT_RESULTS ("ok NAME" or "FAILED NAME"), like checks.sh.
"""

import functools
import os
import sys
import threading
import traceback

_checks = []


def check(name):
    """Registers a function as a check, which fails by raising."""

    def register(function):
        _checks.append((name, function))
        return function

    return register


def for_both_protocols(connect, prefix=""):
    """Makes a decorator that registers a check for each protocol: the function gets a client that `connect(protocol)`
    has made of an emptied server, and the protocol."""

    def both(name):
        def register(function):
            for protocol in (2, 3):
                body = functools.partial(_call_with_client, function, connect, protocol)
                check(f"{prefix}RESP{protocol}: {name}")(body)
            return function

        return register

    return both


def _call_with_client(function, connect, protocol):
    client = connect(protocol)
    client.flushall()
    try:
        function(client, protocol)
    finally:
        client.close()


def on_threads(count, work):
    """Calls `work(number)` on `count` threads at once; fails with what they have raised."""
    errors = []

    def attempt(number):
        try:
            work(number)
        except Exception as error:  # reported by the check, not by the thread
            errors.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=attempt, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors, errors[:3]


def run():
    """Runs every registered check in its order; 1 if one failed."""
    failures = 0
    with open(os.environ["KEDIS_CLIENT_RESULTS"], "a", encoding="utf-8") as results:
        for name, function in _checks:
            try:
                function()
                line = f"ok {name}"
                print(f"ok      {name}", flush=True)
            except Exception:  # a check that fails in any way is one failure, and the next one still runs
                failures += 1
                line = f"FAILED {name}"
                print(f"FAILED  {name}", flush=True)
                for text in traceback.format_exc(limit=-4).splitlines()[-24:]:
                    print(f"        {text}", flush=True)
            results.write(line + "\n")
            results.flush()
    return 1 if failures or not _checks else 0
