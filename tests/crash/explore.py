"""Looks at as many states of power cuts as asked for: every seed is another run of each protocol.

    .venv/bin/python tests/crash/explore.py --states 1000000 [--from 0]

Says how far it is every few seconds; stops with the seed and the state of the first loss.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

from crash_containers import ContainerOracle, record_containers  # noqa: E402
from crash_kit import Report, explore  # noqa: E402
from crash_names import NamesOracle, record_names, replication, whole_life  # noqa: E402
from crash_states import PowerCuts  # noqa: E402
from crash_trace import Image, Trace  # noqa: E402

FOLDERS: Image = {"names": None, "containers": None}
SAMPLES = 400
EACH_S = 10.0


def containers(seed: int) -> Report:
    """Also on what a power cut left of another run."""
    first = record_containers(Trace(), seed, rounds=5)
    report = explore(first, ContainerOracle(first), seed=seed, samples=SAMPLES, torn_max=8)
    states = list(PowerCuts(first, seed=seed, samples=SAMPLES))
    state = states[seed * 7919 % len(states)]
    trace = Trace(state.image)
    for ack in first.acks[: state.acks]:
        trace.ack(ack.fact)
    record_containers(trace, seed + 1_000_000, rounds=3)
    oracle = ContainerOracle(trace)
    oracle.expect_all(first)
    report.add(explore(trace, oracle, seed=seed, samples=SAMPLES, torn_max=8))
    return report


def names(seed: int) -> Report:
    trace, snapshots = record_names(Trace(FOLDERS), whole_life, seed=seed)
    return explore(trace, NamesOracle(trace, snapshots), seed=seed, samples=SAMPLES, torn_max=8)


def cursors(seed: int) -> Report:
    trace, snapshots = record_names(Trace(FOLDERS), replication, seed=seed)
    return explore(trace, NamesOracle(trace, snapshots), seed=seed, samples=SAMPLES, torn_max=8)


PROTOCOLS: dict[str, Callable[[int], Report]] = {
    "containers": containers,
    "names": names,
    "cursors": cursors,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Look at states that power cuts may leave.")
    parser.add_argument("--states", type=int, default=100_000, help="how many in all")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS), help="this one only")
    chosen = parser.parse_args()
    wanted = {name: run for name, run in PROTOCOLS.items() if chosen.protocol in (None, name)}
    reports = {name: Report() for name in wanted}
    seed, began = chosen.first, time.monotonic()
    told = began
    total = 0
    while total < chosen.states:
        for name, run in wanted.items():
            report = run(seed)
            reports[name].add(report)
            for loss in report.losses:
                print(f"{name}, seed {seed}: {loss}")
            if report.bad:
                print(f"{report.bad} bad states: --protocol {name} --from {seed} --states 1")
                return 1
        seed += 1
        total = sum(one.tally.states for one in reports.values())
        if time.monotonic() - told > EACH_S:
            told = time.monotonic()
            print(f"{total:,} of {chosen.states:,} states after {told - began:.0f} s", flush=True)
    for name, report in reports.items():
        print(f"{name}: {report.tally}")
    print(f"{total:,} states from {seed - chosen.first} seeds, 0 losses")
    return 0


if __name__ == "__main__":
    sys.exit(main())
