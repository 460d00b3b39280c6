"""Load from wrk, which sends what a list of presigned request targets says (`load.lua`)."""

import json
import os
import resource
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError

SCRIPT = Path(__file__).parent / "load.lua"
ANSWER_SECONDS_MAX = 30
INSTALL = "wrk is missing; install it with: apt install wrk"


@dataclass(frozen=True)
class Load:
    """What was sent and how it was answered; all answers were 2xx or 3xx."""

    requests: int
    seconds: float
    bytes_read: int
    started: float
    """Seconds since 1970, when the first request was sent."""
    p50_ms: float
    p99_ms: float
    max_ms: float
    client_cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def available() -> bool:
    return shutil.which("wrk") is not None


def parse(output: str) -> dict[str, Any]:
    """The result that load.lua wrote; BenchError when it did not, or an answer was an error."""
    for line in output.splitlines():
        if line.startswith("bench-result "):
            result: dict[str, Any] = json.loads(line.partition(" ")[2])
            break
    else:
        raise BenchError(f"wrk said nothing of use: {output.strip()[-400:] or '(nothing)'}")
    bad = {name: count for name, count in result["errors"].items() if count}
    if bad:
        text = ", ".join(f"{count} {name}" for name, count in bad.items())
        raise BenchError(f"errors among {result['requests']} answers: {text}")
    if not result["requests"]:
        raise BenchError("not one request was answered")
    return result


def run(
    address: str,
    method: str,
    targets: Sequence[str],
    folder: Path,
    *,
    connections: int,
    seconds: int,
    body: Path | None = None,
    once: bool = False,
    threads: int = 1,
) -> Load:
    """Send the targets for so many seconds, over and over; or each of them `once`, until all are
    answered or the time is over."""
    if len(targets) < connections:
        raise BenchError(f"{connections} connections need more than {len(targets)} targets")
    listed = folder / "targets.txt"
    listed.write_text("\n".join(targets) + "\n")
    environment = {
        **os.environ,
        "BENCH_METHOD": method,
        "BENCH_TARGETS": str(listed),
        "BENCH_BODY": str(body or ""),
        "BENCH_ONCE": "1" if once else "",
        "BENCH_THREADS": str(threads),
        "BENCH_CONNECTIONS": str(connections // threads),
    }
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s"]
    command += ["--timeout", f"{ANSWER_SECONDS_MAX}s", "-s", str(SCRIPT), f"http://{address}/"]
    before = _children_cpu_seconds()
    output = _collect(command, environment, threads, seconds + 2 * ANSWER_SECONDS_MAX)
    listed.unlink()
    result = parse(output)
    ended = result["ended"] if once and output.count("bench-finished") == threads else 0
    return Load(
        requests=result["requests"],
        seconds=ended - result["started"] if ended else result["seconds"],
        bytes_read=result["bytes"],
        started=result["started"],
        p50_ms=result["p50_ms"],
        p99_ms=result["p99_ms"],
        max_ms=result["max_ms"],
        client_cpu_seconds=_children_cpu_seconds() - before,
    )


def _children_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _collect(command: list[str], environment: dict[str, str], threads: int, limit: float) -> str:
    """What wrk prints. It is interrupted, so that it reports, when all its threads have finished,
    and killed when it does not end by itself."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    watchdog = threading.Timer(limit, process.kill)
    watchdog.start()
    lines = []
    finished = 0
    assert process.stdout
    try:
        for line in process.stdout:
            lines.append(line)
            finished += line == "bench-finished\n"
            if finished == threads and line == "bench-finished\n":
                process.send_signal(signal.SIGINT)
        process.wait()
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
    return "".join(lines)
