"""The load clients that are programs of this package, each run in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.datacenter import die_with_parent
from bench.errors import BenchError
from bench.wrk import Load

END_SECONDS_MAX = 120


@dataclass(frozen=True)
class Transfers:
    """Whole transfers of large bodies."""

    count: int
    bytes: int
    seconds: float
    slowest_seconds: float
    client_cpu_seconds: float
    done: list[int]
    """The numbers of the targets, in the order in which they were finished."""

    @property
    def megabytes_per_second(self) -> float:
        return self.bytes / 1e6 / self.seconds


def run_heads(
    folder: Path, address: str, targets: Sequence[str], connections: int, seconds: int
) -> Load:
    """The same as `wrk.run`, for HEAD."""
    listed = _listed(folder, targets)
    arguments = [address, str(listed), str(connections), str(seconds)]
    result = _run("bench.heads", arguments, seconds)
    return Load(
        requests=result["requests"],
        seconds=result["seconds"],
        bytes_read=0,
        started=0.0,
        p50_ms=result["p50_ms"],
        p99_ms=result["p99_ms"],
        max_ms=result["max_ms"],
        client_cpu_seconds=result["cpu_seconds"],
    )


def run_transfers(
    folder: Path,
    address: str,
    method: str,
    targets: Sequence[str],
    body: Path,
    connections: int,
    seconds: int,
) -> Transfers:
    """PUT `body` to the targets, or GET them, for so many seconds."""
    listed = _listed(folder, targets)
    arguments = [address, method, str(listed), str(connections), str(seconds), str(body)]
    result = _run("bench.transfers", arguments, seconds)
    if not result["transfers"]:
        raise BenchError("not one transfer was finished")
    return Transfers(
        count=result["transfers"],
        bytes=result["bytes"],
        seconds=result["seconds"],
        slowest_seconds=result["slowest_seconds"],
        client_cpu_seconds=result["cpu_seconds"],
        done=result["done"],
    )


def _listed(folder: Path, targets: Sequence[str]) -> Path:
    path = folder / "targets.txt"
    path.write_text("\n".join(targets) + "\n")
    return path


def _run(module: str, arguments: Sequence[str], seconds: float) -> dict[str, Any]:
    """The JSON that a client printed; BenchError when it failed or got a wrong answer."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,
    )
    try:
        output, errors = process.communicate(timeout=seconds + END_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise BenchError(
            f"the load client does not end {END_SECONDS_MAX} s after its time"
        ) from None
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise BenchError(f"the load client failed: {errors.strip()[-400:]}")
    result: dict[str, Any] = json.loads(output)
    if result["bad"]:
        raise BenchError(f"a wrong answer: {result['bad']}")
    return result
