"""Runs ceph/s3-tests, from a checkout beside the project, against a datacenter made for it.

    python tests/conformance/run_s3_tests.py --suite DIR            # everything in scope
    python tests/conformance/run_s3_tests.py --suite DIR -k cors    # names that match

DIR/.venv holds the suite's requirements. Each worker is a process of the suite's Python
with `suite_plugin.py`, users of its own, and works off one common list; so tests that count all
the buckets of a user do not see each other's. What each test came to is written as JSON; the
tests that are out of scope stand in docs/s3-tests.md.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suite_classes import APART, class_of, out_of_scope, short

ROOT = Path(__file__).parents[2]
REGION = "harbour"
LIFECYCLE_DAY_S = 10
SETTINGS: dict[str, object] = {
    "s3.signature_v2": True,
    "s3.ssec_over_http": True,
    "s3.lifecycle_day": "10s",
    "s3.access_log_every": "5s",
}
"""What the suite needs otherwise than a new datacenter has it; by the path in farshore.toml."""
USERS = ("s3 main", "s3 alt", "s3 tenant", "iam", "iam root", "iam alt root")
SLOW_FIRST = re.compile(r"lifecycle|expiration|logging")
"""Tests that wait are begun first: the others are done meanwhile."""


def farshore(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "admin", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"farshore {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def configure(file: Path) -> None:
    """Change SETTINGS in a new farshore.toml, which has a line for every field."""
    table, lines = "", []
    left = dict(SETTINGS)
    for line in file.read_text().splitlines():
        if match := re.match(r"\[(.+)\]", line):
            table = f"{match[1]}."
        name = table + line.partition(" = ")[0]
        if name in left:
            line = f"{line.partition(' = ')[0]} = {json.dumps(left.pop(name))}"
        lines.append(line)
    if left:
        sys.exit(f"a new farshore.toml has no {', '.join(left)}")
    file.write_text("\n".join(lines) + "\n")


@contextmanager
def datacenter(folder: Path) -> Iterator[int]:
    """A datacenter that serves in `folder`; the port for S3."""
    port = free_port()
    farshore(
        "init", folder, "--name", "conformance", "--region", REGION,
        "--s3", f"127.0.0.1:{port}", "--peer", "127.0.0.1:0", "--admin", "127.0.0.1:0",
    )  # fmt: skip
    configure(folder / "farshore.toml")
    with (folder.parent / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "admin", "serve", folder], cwd=ROOT, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 30
        while not (folder / "run.json").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit((folder.parent / "serve.log").read_text()[-3000:])
            time.sleep(0.1)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def write_config(folder: Path, port: int, number: int, file: Path) -> None:
    """The suite's configuration for one worker, with new users."""
    lines = ["[DEFAULT]", "host = 127.0.0.1", f"port = {port}", "is_secure = False"]
    lines += ["[fixtures]", f"bucket prefix = w{number}-{{random}}-"]
    for section in USERS:
        email = f"{section.replace(' ', '-')}{number}@example.org"
        keys = json.loads(farshore("-C", folder, "user", "add", email, "--json"))
        lines += [
            f"[{section}]",
            f"email = {email}",
            f"user_id = {keys['canonical_id']}",
            f"display_name = {email.partition('@')[0]}",
            f"access_key = {keys['access_key']}",
            f"secret_key = {keys['secret_key']}",
        ]
        if section == "s3 main":
            lines += [f"api_name = {REGION}", f"lc_debug_interval = {LIFECYCLE_DAY_S}"]
        if section == "s3 tenant":
            lines += ["tenant = testx"]
    file.write_text("\n".join(lines) + "\n")


class Suite:
    """The tests that are still to run, and what became of the others."""

    def __init__(self, arguments: argparse.Namespace, excluded: list[Any]) -> None:
        self._suite = arguments.suite.resolve()
        self._pattern = re.compile(arguments.k)
        self._all = arguments.all
        self._seconds = arguments.seconds
        self._excluded = excluded
        self._lock = threading.Lock()
        self._todo: list[str] | None = None
        self.tests: dict[str, dict[str, Any]] = {}
        self.unmatched: list[str] = []

    def run(self, configs: list[Path]) -> None:
        threads = [threading.Thread(target=self._work, args=(each,)) for each in configs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, config: Path) -> None:
        """Starts workers until nothing is left to do: one that dies takes one test along."""
        while self._todo is None or self._todo:
            self._worker(config)

    def _worker(self, config: Path) -> None:
        results, theirs = os.pipe()
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "PYTHONPATH": str(Path(__file__).parent),
            "S3TEST_CONF": str(config),
            "FARSHORE_RESULTS": str(theirs),
            "FARSHORE_TEST_SECONDS": str(self._seconds),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(config.with_suffix(".none")),
            "AWS_SHARED_CREDENTIALS_FILE": str(config.with_suffix(".none")),
        }
        log = config.with_suffix(".log").open("ab")
        process = subprocess.Popen(
            [
                self._suite / ".venv/bin/python", "-m", "pytest", "-q", "-p", "suite_plugin",
                "-p", "no:cacheprovider", "-W", "ignore", "s3tests/functional",
            ],
            cwd=self._suite, env=environment, pass_fds=(theirs,), text=True,
            stdin=subprocess.PIPE, stdout=log, stderr=log,
        )  # fmt: skip
        os.close(theirs)
        log.close()
        assert process.stdin is not None
        with os.fdopen(results) as lines, process.stdin as orders:
            found = lines.readline()
            if not found:
                sys.exit(config.with_suffix(".log").read_text()[-3000:])
            self._plan(json.loads(found))
            while (test := self._next()) is not None:
                print(test, file=orders, flush=True)
                line = lines.readline()
                died = {"outcome": "error", "reason": "pytest died", "seconds": 0}
                self.tests[test].update(json.loads(line) if line else died)
                self._tell(test)
                if not line:
                    break
        if process.wait(30):
            print(config.with_suffix(".log").read_text()[-3000:])

    def _plan(self, found: dict[str, list[str]]) -> None:
        with self._lock:
            if self._todo is not None:
                return
            for test, marks in found.items():
                reason = next((row.reason for row in self._excluded if row.matches(test)), "")
                self.tests[test] = {"class": class_of(test), "marks": marks, "excluded": reason}
            self.unmatched = [
                row.pattern for row in self._excluded if not any(map(row.matches, found))
            ]
            chosen = [
                test
                for test in found
                if self._pattern.search(short(test))
                and (self._all or not self.tests[test]["excluded"])
            ]
            self._todo = sorted(chosen, key=lambda test: SLOW_FIRST.search(test) is None)

    def _next(self) -> str | None:
        with self._lock:
            return self._todo.pop(0) if self._todo else None

    def _tell(self, test: str) -> None:
        got = self.tests[test]
        text = f"{got['outcome']:7} {got['seconds']:6.1f} {short(test)} {got['reason']}"
        with self._lock:
            print(text, flush=True)


def summary(tests: dict[str, dict[str, Any]]) -> str:
    """Counts of each class, and of the core classes together."""
    counts: dict[str, Counter[str]] = {}
    for test in tests.values():
        what = "excluded" if test["excluded"] else test.get("outcome", "not run")
        groups = [test["class"]]
        if not test["excluded"] or "outcome" not in test:
            groups += ["all in scope"] * (not test["excluded"])
            groups += ["core together"] * (test["class"] not in APART and not test["excluded"])
        for group in groups:
            counts.setdefault(group, Counter())[what] += 1
    names = ("passed", "failed", "error", "skipped", "not run", "excluded")
    lines = [f"{'':20}" + "".join(f"{name:>9}" for name in names)]
    order = sorted(counts, key=lambda group: (group in ("core together", "all in scope"), group))
    for group in order:
        lines.append(f"{group:20}" + "".join(f"{counts[group][name]:9}" for name in names))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", type=Path, required=True, help="a checkout of ceph/s3-tests")
    parser.add_argument("-k", default="", help="only tests whose name matches this expression")
    parser.add_argument("--all", action="store_true", help="run what is out of scope, too")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=300, help="the most a test may take")
    parser.add_argument("--json", type=Path, help="write what each test came to into this file")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    if not (arguments.suite / ".venv/bin/python").exists():
        venv = f"{arguments.suite}/.venv"
        sys.exit(
            f"{venv} is missing. Make it: python3 -m venv {venv} &&"
            f" {venv}/bin/pip install -r {arguments.suite}/requirements.txt"
        )
    suite = Suite(arguments, out_of_scope())
    with tempfile.TemporaryDirectory(prefix="farshore-s3-tests-") as scratch:
        folder = Path(scratch) / "dc"
        with datacenter(folder) as port:
            configs = [Path(scratch) / f"worker{number}" for number in range(arguments.workers)]
            for number, config in enumerate(configs):
                write_config(folder, port, number, config)
            suite.run(configs)
        errors = (Path(scratch) / "serve.log").read_text()
    if arguments.json:
        arguments.json.write_text(json.dumps(suite.tests, indent=1))
    bad = [line for line in errors.splitlines() if '"error"' in line or "rror" in line]
    for line in bad[:20]:
        print(line[:2000])
    if suite.unmatched:
        print("patterns of docs/s3-tests.md that no test has:", ", ".join(suite.unmatched))
    print(summary(suite.tests))
    ran = [test for test in suite.tests.values() if "outcome" in test]
    return 0 if ran and all(test["outcome"] in ("passed", "skipped") for test in ran) else 1


if __name__ == "__main__":
    sys.exit(main())
