"""Where a server's time goes: py-spy looks at it a hundred times a second while a row runs.

Two recordings at once: one of the threads that hold the interpreter lock, which is what bounds a
server in Python, and one of all that is on a CPU, also outside of the lock. Written as lines of
`frame;frame;frame count`, which flame graph tools read.
"""

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.datacenter import Datacenter
from bench.errors import BenchError

SAMPLES_PER_SECOND = 100
ATTACH_SECONDS = 2
WRITE_SECONDS_MAX = 60
TOP = 25
THREADS_MAX = 6
STARTS = ("Runner.run (", "Thread.run (", "_worker (concurrent")
INSTALL = "py-spy is missing; install it with: python -m pip install py-spy"


def find_py_spy() -> str | None:
    """Beside this Python, or on PATH."""
    beside = Path(sys.executable).parent / "py-spy"
    return str(beside) if beside.exists() else shutil.which("py-spy")


@contextlib.contextmanager
def profiled(datacenters: Sequence[Datacenter], row: str, folder: Path) -> Iterator[None]:
    """Record each datacenter meanwhile; afterwards print what takes the time."""
    recordings = []
    folder.mkdir(parents=True, exist_ok=True)
    for datacenter in datacenters:
        for kind in ("gil", "cpu"):
            output = folder / f"{row}-{datacenter.name}-{kind}.txt"
            recordings.append(
                (datacenter.name, kind, output, _record(datacenter.pid, output, kind))
            )
    if recordings:
        time.sleep(ATTACH_SECONDS)
    began = time.monotonic()
    try:
        yield
    finally:
        seconds = time.monotonic() - began
        for _, _, _, process in recordings:
            process.send_signal(signal.SIGINT)
        for name, kind, output, process in recordings:
            _end(process)
            print(summary(name, kind, output, seconds))


def _record(pid: int, output: Path, kind: str) -> subprocess.Popen[bytes]:
    py_spy = find_py_spy()
    if not py_spy:
        raise BenchError(INSTALL)
    command = [py_spy, "record", "--format", "raw", "--function", "--threads", "--subprocesses"]
    command += ["--rate", str(SAMPLES_PER_SECOND), "--duration", "unlimited", "--nonblocking"]
    command += ["--output", str(output), "--pid", str(pid)]
    if kind == "gil":
        command.append("--gil")
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(WRITE_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def parse(text: str) -> list[tuple[list[str], int]]:
    """Stacks, outermost frame first (the thread), with how often each was seen."""
    stacks = []
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        if frames and count.isdigit():
            stacks.append((frames.split(";"), int(count)))
    return stacks


def split(frames: Sequence[str]) -> tuple[str, list[str]]:
    """The thread of a stack, and its frames without those by which every thread starts."""
    thread = next((each for each in frames if each.startswith("thread")), frames[0])
    starts = [at for at, each in enumerate(frames) if each.startswith(("thread", *STARTS))]
    return thread, list(frames[starts[-1] + 1 :] if starts else frames)


def summary(name: str, kind: str, output: Path, seconds: float) -> str:
    """The threads and functions that were seen most."""
    if not output.exists():
        return f"    no profile of {name}: py-spy may need root, or the server has ended"
    threads: Counter[str] = Counter()
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for stack, count in parse(output.read_text(errors="replace")):
        thread, frames = split(stack)
        threads[thread] += count
        own[frames[-1] if frames else "(none: the loop in C, or waiting)"] += count
        within.update(dict.fromkeys(frames, count))
    what = "holding the interpreter lock" if kind == "gil" else "on a CPU"
    lines = [f"    {name}, {what}, in % of the time ({output.name}):"]
    for title, counter, most in (
        ("threads", threads, THREADS_MAX),
        ("functions, in themselves", own, TOP),
        ("functions, with what they call", within, TOP),
    ):
        lines.append(f"      {title}")
        for each, count in counter.most_common(most):
            share = 100 * count / max(1.0, seconds * SAMPLES_PER_SECOND)
            lines.append(f"      {share:6.1f}  {each}")
    return "\n".join(lines)
