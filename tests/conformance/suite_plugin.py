"""A pytest plugin for the suite's own Python: runs the tests that it is told to, one at a time.

The runner (`run_s3_tests.py`) writes the id of a test to standard input and gets a line of JSON
with the outcome on the descriptor FARSHORE_RESULTS; then it writes the next. So several of these
work off one list. Package fixtures end after each test: the suite then takes a new bucket prefix,
and a bucket that could not be deleted does not fail the tests after it. A test that takes too long
is interrupted: it would hold up all the others.
"""

import json
import os
import signal
from pathlib import Path

import pytest

SECONDS = float(os.environ.get("FARSHORE_TEST_SECONDS", "120"))
_orders = os.fdopen(os.dup(0))
"""Standard input as it is now; pytest takes it away while tests run."""
_reports = {}


class TooSlowError(BaseException):
    """Not an Exception: tests catch those while they wait for something."""


def _interrupt(_signal, _frame):
    raise TooSlowError(f"took longer than {SECONDS:g} s")


def _reason(report):
    """The last line that says what failed, and where in the test that was."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return str(report.longrepr).strip().splitlines()[-1][:300]
    entries = getattr(report.longrepr.reprtraceback, "reprentries", [])
    places = [entry.reprfileloc for entry in entries if getattr(entry, "reprfileloc", None)]
    place = next((p for p in places if "s3tests" in p.path), None)
    where = f"{Path(place.path).name}:{place.lineno}: " if place else ""
    return where + crash.message.splitlines()[0][:300]


def pytest_runtest_logreport(report):
    _reports[report.when] = report


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    """In place of pytest's own loop, which would run all that was collected."""
    with os.fdopen(int(os.environ["FARSHORE_RESULTS"]), "w") as out:
        items = {item.nodeid: item for item in session.items}
        tests = {
            name: sorted({mark.name for mark in item.iter_markers()})
            for name, item in items.items()
        }
        print(json.dumps(tests), file=out, flush=True)
        for line in _orders:
            print(json.dumps(_run(items[line.strip()])), file=out, flush=True)
    return True


def _run(item):
    _reports.clear()
    signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, SECONDS, 5)
    try:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    except TooSlowError:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    seconds = round(sum(report.duration for report in _reports.values()), 2)
    for when, report in _reports.items():
        if report.failed:
            outcome = "failed" if when == "call" else "error"
            return {"outcome": outcome, "reason": _reason(report), "seconds": seconds}
        if report.skipped:
            reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else ""
            return {"outcome": "skipped", "reason": reason, "seconds": seconds}
    if "call" not in _reports:
        return {"outcome": "error", "reason": f"took longer than {SECONDS:g} s", "seconds": seconds}
    return {"outcome": "passed", "reason": "", "seconds": seconds}
