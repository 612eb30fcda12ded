"""What the Python scripts of the client checks share: a check is a function; one line for each, and an exit status.

Each check appends one line to the file KEDIS_CLIENT_RESULTS ("ok NAME" or "FAILED NAME"), like checks.sh.
"""

import os
import sys
import traceback

_checks = []


def check(name):
    """Registers a function as a check, which fails by raising."""

    def register(function):
        _checks.append((name, function))
        return function

    return register


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
