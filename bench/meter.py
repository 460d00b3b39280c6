"""What a measurement costs: CPU time of datacenters, their memory meanwhile, and how much of the
machine others used, by which one knows whether a figure is to be trusted."""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench import proc
from bench.datacenter import Datacenter

SAMPLE_SECONDS = 0.5
QUIET_CORES = 0.15


@dataclass
class Meter:
    """Filled in when the measurement ends."""

    seconds: float = 0.0
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    """Of each datacenter, by name."""
    busy_seconds: float = 0.0
    """CPU time of the whole machine."""
    stolen_seconds: float = 0.0
    """CPU time that the hypervisor gave to others."""
    own_seconds: float = 0.0
    """CPU time of the bench itself."""

    @property
    def server_cpu_seconds(self) -> float:
        return sum(self.cpu_seconds.values())

    def facts(self, operations: float, client_cpu_seconds: float) -> dict[str, float]:
        """For the results. Cores are CPU seconds per second."""
        server = self.server_cpu_seconds
        others = self.busy_seconds - server - client_cpu_seconds - self.own_seconds
        return {
            "cpu_ms": server * 1000 / operations,
            "server_cores": server / self.seconds,
            "client_cores": client_cpu_seconds / self.seconds,
            "other_cores": max(0.0, others) / self.seconds,
            "stolen_cores": self.stolen_seconds / self.seconds,
        }


@contextlib.contextmanager
def metered(datacenters: Sequence[Datacenter]) -> Iterator[Meter]:
    """Measure what runs inside; every half second look at the memory of the datacenters."""
    meter = Meter()
    over = threading.Event()
    sampler = threading.Thread(target=_sample, args=(datacenters, over), daemon=True)
    sampler.start()
    machine, began, own = proc.machine(), time.monotonic(), time.process_time()
    before = {each.name: proc.cpu_seconds(each.pid) for each in datacenters}
    try:
        yield meter
    finally:
        after = {each.name: proc.cpu_seconds(each.pid) for each in datacenters}
        now = proc.machine()
        over.set()
        sampler.join()
        meter.seconds = time.monotonic() - began
        meter.own_seconds = time.process_time() - own
        meter.busy_seconds = now.busy - machine.busy
        meter.stolen_seconds = now.stolen - machine.stolen
        meter.cpu_seconds = {name: after[name] - before[name] for name in before}


def wait_until_quiet(seconds_max: float) -> float:
    """Wait, at most so long, until two seconds pass in which the machine is next to idle; the
    seconds waited."""
    began, quiet = time.monotonic(), 0
    while quiet < 2 and time.monotonic() < began + seconds_max:
        before = proc.machine()
        time.sleep(1)
        now = proc.machine()
        used = now.busy + now.stolen - before.busy - before.stolen
        quiet = quiet + 1 if used < QUIET_CORES else 0
    return time.monotonic() - began


def _sample(datacenters: Sequence[Datacenter], over: threading.Event) -> None:
    while not over.wait(SAMPLE_SECONDS):
        for each in datacenters:
            rss = proc.memory(each.pid, proportional=False).rss
            each.rss_under_load = max(each.rss_under_load, rss)
