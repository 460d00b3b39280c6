"""What the kernel says about processes: CPU time and memory of a process and all its descendants.

CPU time comes from /proc/PID/stat: user and system time of all threads, ended ones included, and of
children that were waited for. It counts in ticks of 10 ms, which is exact enough for seconds of
load; for an idle process `cpu_seconds_fine` adds up the nanoseconds of the threads alive.
"""

import os
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


class Stat(NamedTuple):
    """Of /proc/PID/stat: the parent, and the CPU time of it and the children it waited for."""

    parent: int
    ticks: int


class Memory(NamedTuple):
    """Bytes: resident, proportional (shared pages divided by who shares them), highest resident."""

    rss: int
    pss: int
    peak: int


class Machine(NamedTuple):
    """CPU seconds of the whole machine since boot: at work, and taken by the hypervisor."""

    busy: float
    stolen: float


def parse_stat(text: str) -> Stat:
    """The second field, the program's name, may hold spaces and parentheses."""
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(int(fields[1]), sum(int(each) for each in fields[11:15]))


def parse_kilobytes(text: str, name: str) -> int:
    """The bytes in a line such as `VmRSS:    1234 kB`; 0 without one."""
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def parse_machine(text: str) -> Machine:
    """From /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal."""
    ticks = [int(each) for each in text.splitlines()[0].split()[1:9]]
    busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]
    return Machine(busy / TICKS_PER_SECOND, ticks[7] / TICKS_PER_SECOND)


def machine() -> Machine:
    return parse_machine((PROC / "stat").read_text())


def _read(path: Path) -> str:
    """Empty when the process has ended meanwhile."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def tree(pid: int) -> dict[int, Stat]:
    """The process and its descendants."""
    stats: dict[int, Stat] = {}
    children: defaultdict[int, list[int]] = defaultdict(list)
    for path in PROC.iterdir():
        if path.name.isdigit() and (text := _read(path / "stat")):
            stats[int(path.name)] = stat = parse_stat(text)
            children[stat.parent].append(int(path.name))
    found: dict[int, Stat] = {}
    waiting = [pid]
    while waiting:
        each = waiting.pop()
        if each in stats:
            found[each] = stats[each]
            waiting += children[each]
    return found


def cpu_seconds(pid: int) -> float:
    return sum(stat.ticks for stat in tree(pid).values()) / TICKS_PER_SECOND


def cpu_seconds_fine(pid: int) -> float:
    """To the nanosecond, without threads and processes that have ended."""
    total = 0
    for each in tree(pid):
        for path in (PROC / str(each) / "task").glob("*/schedstat"):
            if text := _read(path):
                total += int(text.split()[0])
    return total / 1e9


def memory(pid: int, *, proportional: bool = True) -> Memory:
    """Finding the proportional size halts the process for a moment; without it, it is 0."""
    rss = pss = peak = 0
    for each in tree(pid):
        status = _read(PROC / str(each) / "status")
        rss += parse_kilobytes(status, "VmRSS")
        peak += parse_kilobytes(status, "VmHWM")
        if proportional:
            pss += parse_kilobytes(_read(PROC / str(each) / "smaps_rollup"), "Pss")
    return Memory(rss, pss, peak)
