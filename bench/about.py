"""What figures are worth nothing without: machine, date, versions, commit."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.proc import parse_kilobytes

REPOSITORY = Path(__file__).parent.parent
PACKAGES = ("farshore", "aiohttp", "uvloop", "aiosqlite", "msgspec", "cryptography", "awscrt")


def about(folder: Path) -> dict[str, Any]:
    """For the results; `folder` is where the data is kept."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory_gb": round(_memory() / 1e9, 1),
            "kernel": platform.release(),
            "filesystem": filesystem(folder),
            "load_average_before": [round(each, 2) for each in os.getloadavg()],
        },
        "versions": {
            "python": platform.python_version(),
            "wrk": _first_line(["wrk", "-v"]),
            **{name: _version(name) for name in PACKAGES},
        },
    }


def summary(facts: dict[str, Any]) -> str:
    machine, versions = facts["machine"], facts["versions"]
    return (
        f"{facts['date']}, commit {facts['commit']}\n"
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB,"
        f" Linux {machine['kernel']}, {machine['filesystem']}, Python {versions['python']},"
        f" aiohttp {versions['aiohttp']}, load average {machine['load_average_before'][0]}"
    )


def filesystem(folder: Path) -> str:
    """The type of the file system that holds a folder."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, found, *_ = line.split()
        if folder.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, found
    return kind


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> int:
    return parse_kilobytes(Path("/proc/meminfo").read_text(), "MemTotal")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=10)
    except OSError:
        return ""
    return (done.stdout.strip().splitlines() or [""])[0]


def _commit() -> str:
    commit = _first_line(["git", "rev-parse", "--short=12", "HEAD"])
    changed = _first_line(["git", "status", "--porcelain", "--untracked-files=no"])
    return f"{commit or 'unknown'}{' with changes' if changed else ''}"
