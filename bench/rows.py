"""The rows of the table: how each is measured, what it is to reach, and what others reach."""

from collections.abc import Callable
from dataclasses import dataclass

from bench import (
    beside,
    coded,
    files,
    footprint,
    gateways,
    large,
    lines,
    million,
    nodes,
    pacing,
    proofs,
    replication,
    small,
    space,
    through,
    verify,
)
from bench.small import Figures
from bench.world import World


@dataclass(frozen=True)
class Goal:
    """A figure of a row, and the least (or most) it may be."""

    figure: str
    unit: str
    least: float | None = None
    most: float | None = None
    cpu: bool = False
    """Shown in the column of CPU time."""

    @property
    def limit(self) -> float | None:
        return self.most if self.least is None else self.least

    def reached(self, value: float) -> bool:
        if self.least is not None:
            return value >= self.least
        return self.most is None or value <= self.most


@dataclass(frozen=True)
class Row:
    """`scale` is Ceph RGW 16.2 with one copy on a machine like this one."""

    name: str
    title: str
    measure: Callable[[World], Figures]
    goals: tuple[Goal, ...]
    scale: str = ""


def _rate(least: float | None, cpu_ms: float | None = None) -> tuple[Goal, ...]:
    return Goal("rate", "/s", least), Goal("cpu_ms", "ms", most=cpu_ms, cpu=True)


def _megabytes(least: float | None) -> tuple[Goal, ...]:
    return Goal("mb_per_second", "MB/s", least), Goal("cpu_seconds_per_gb", "s/GB", cpu=True)


ROWS = (
    Row("rss-idle", "RSS per DC, idle", footprint.memory_idle, (Goal("rss_mb", "MB", most=90),)),
    Row("put4k", "PUT 4 KiB, 16 connections", small.put16, _rate(4000, 0.4), "758 /s, 2.1 ms"),
    Row("put4k-64", "PUT 4 KiB, 64 connections", small.put64, _rate(5000, 0.4), "758 /s, 2.1 ms"),
    Row("get4k", "GET 4 KiB, 16 connections", small.get16, _rate(8000, 0.2), "2,327 /s, 0.6 ms"),
    Row("head", "HEAD, 16 connections", small.head16, _rate(8000), "3,019 /s"),
    Row("delete", "DELETE, 16 connections", small.delete16, _rate(4000), "805 /s"),
    Row("list", "listing pages of 1,000", small.listing, _rate(250), "86 /s"),
    Row("put64m", "PUT 64 MiB, 2 connections", large.put64m, _megabytes(400), "142 MB/s"),
    Row("get64m", "GET 64 MiB, 2 connections", large.get64m, _megabytes(900), "263 MB/s"),
    Row(
        "coded-put4k-64",
        "4+2: PUT 4 KiB, 64 connections",
        coded.put64,
        _rate(2000),
        "295 /s (2+1)",
    ),
    Row("coded-put64m", "4+2: PUT 64 MiB", coded.put64m, _megabytes(250), "94 MB/s (2+1)"),
    Row("coded-get64m", "4+2: GET 64 MiB", coded.get64m, _megabytes(600), "199 MB/s (2+1)"),
    Row("coded-degraded", "4+2: GET 64 MiB, two disks lost", coded.degraded, _megabytes(300)),
    Row(
        "coded-repair",
        "4+2: a lost disk written anew",
        coded.repair,
        (Goal("mb_per_second", "MB/s", least=200),),
    ),
    Row(
        "coded-scrub",
        "4+2: scrub",
        coded.scrub,
        (Goal("mb_per_second", "MB/s", least=800),),
    ),
    Row(
        "coded-space",
        "4+2: raw bytes of 4 KiB objects, of 1.5 times their size",
        space.space,
        (Goal("ratio", "x", most=1.05), Goal("ratio_before", "x before")),
    ),
    Row(
        "coded-beside",
        "4+2: p99 of clients beside repair, scrub",
        beside.beside,
        (
            Goal("repairing_ratio", "x (repair)", most=2),
            Goal("scrubbing_ratio", "x (scrub)", most=2),
        ),
    ),
    Row(
        "coded-memory",
        "4+2: memory for a million objects",
        million.million,
        (Goal("mb_per_million", "MB", most=40),),
    ),
    Row("nodes-put4k-64", "4+2 on six nodes: PUT 4 KiB, 64 connections", nodes.put64, _rate(None)),
    Row("nodes-put64m", "4+2 on six nodes: PUT 64 MiB", nodes.put64m, _megabytes(None)),
    Row("nodes-get64m", "4+2 on six nodes: GET 64 MiB", nodes.get64m, _megabytes(None)),
    Row(
        "nodes-degraded",
        "4+2 on six nodes: GET 64 MiB, two killed",
        nodes.degraded,
        _megabytes(None),
    ),
    Row("gw-put4k-64", "by a gateway: PUT 4 KiB, 64 connections", gateways.put64, _rate(None)),
    Row("gw-get4k", "by a gateway: GET 4 KiB, 16 connections", gateways.get16, _rate(None)),
    Row("gw-put64m", "by a gateway: PUT 64 MiB", gateways.put64m, _megabytes(None)),
    Row("gw-get64m", "by a gateway: GET 64 MiB", gateways.get64m, _megabytes(None)),
    Row("seed", "seeding a peer, objects", replication.seed, _rate(None)),
    Row("files-4k", "objects of 4 KiB by a file, its import", files.small, _rate(None)),
    Row("files-64m", "objects of 64 MiB by a file, its import", files.large, _megabytes(None)),
    Row("idle", "idle CPU per DC, paired", replication.idle, (Goal("percent", "%", most=0.5),)),
    Row(
        "lag",
        "replication lag p50 / p99",
        replication.lag,
        (Goal("p50_ms", "ms", most=10), Goal("p99_ms", "ms", most=50)),
        "167 / 414 ms",
    ),
    Row(
        "lag-both",
        "lag, both ways at once, p99",
        replication.lag_both,
        (Goal("p99_ms", "ms", most=100),),
        "0.5 to 7.9 s",
    ),
    Row(
        "copying",
        "PUT rate while a peer copies, of that alone",
        replication.copying,
        (Goal("percent", "%", least=70),),
        "12 %",
    ),
    Row("burst", "2,000 new objects at the other DC", replication.burst, _rate(2000), "92 /s"),
    Row(
        "limit-out",
        "limit of 300 KiB/s on what goes: off by",
        pacing.limit_out,
        (Goal("off_percent", "%", most=2), Goal("small_p50_ms", "ms")),
    ),
    Row(
        "limit-in",
        "limit of 300 KiB/s on what comes: off by",
        pacing.limit_in,
        (Goal("off_percent", "%", most=2), Goal("small_p50_ms", "ms")),
    ),
    Row(
        "through",
        "read-through, p50: GET 4 KiB, a key of nobody, a page of 100",
        through.through,
        (Goal("get_ms", "ms"), Goal("miss_ms", "ms"), Goal("list_ms", "ms")),
    ),
    Row("through-get64m", "read-through: GET 64 MiB", through.get64m, _megabytes(None)),
    Row(
        "verify",
        "comparing two DCs, 10 of 1,000,000 differ",
        verify.verify,
        (
            Goal("seconds", "s", most=5),
            Goal("megabytes", "MB", most=1),
            Goal("found", "found", least=10, most=10),
        ),
    ),
    Row(
        "far-lag",
        "lag over 80 ms RTT, p50 / p99",
        lines.far_lag,
        (Goal("p50_ms", "ms", most=60), Goal("p99_ms", "ms", most=200)),
        "480 / 1,100 ms",
    ),
    Row(
        "far-burst",
        "2,000 new objects over 80 ms RTT",
        lines.far_burst,
        (Goal("rate", "/s", 1500),),
        "77 /s",
    ),
    Row("bulk", "4 x 256 MiB to the other DC", lines.bulk, _megabytes(250), "26 to 40 MB/s"),
    Row(
        "far-bulk",
        "the same over 80 ms RTT and 30 MB/s",
        lines.far_bulk,
        (Goal("percent", "% of the line", least=90),),
    ),
    Row(
        "cut",
        "300 MB over 20 Mbit/s, cut every 6 s",
        lines.cut,
        (Goal("percent_twice", "% twice", most=5),),
        "never (3 GB, every 60 s)",
    ),
    Row(
        "first",
        "first object after pairing, 80 ms RTT",
        lines.first,
        (Goal("seconds", "s", most=2),),
        "16 to 31 s",
    ),
    Row(
        "seed-million",
        "seeding a peer, a million objects",
        lines.seed_million,
        (Goal("rate", "/s", least=4000), Goal("grown_mb", "MB grown", most=20)),
    ),
    Row(
        "notarize",
        "notarizing PUTs of 4 KiB, 64 connections",
        proofs.notarize,
        (Goal("rate", "/s", least=1000), Goal("cpu_ms", "ms", cpu=True)),
    ),
    Row(
        "certificate",
        "certificate, log of 10 million entries",
        proofs.certificates,
        (Goal("p99_ms", "ms", most=20),),
    ),
    Row(
        "rss-load",
        "RSS per DC, highest under this load",
        footprint.memory_load,
        (Goal("peak_mb", "MB", most=200),),
        "1,500 MB",
    ),
)
