"""The command line of the bench."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from bench import limits, profiling, wrk
from bench.about import REPOSITORY, about, filesystem, summary
from bench.errors import BenchError
from bench.meter import wait_until_quiet
from bench.report import Result, details, limit_line, table, write
from bench.rows import ROWS, Row
from bench.world import Settings, World

RESULTS = REPOSITORY / "bench-results"
SECONDS, SECONDS_QUICK = 10, 3
EXAMPLES = """\
examples:
  python -m bench                            everything, some five minutes
  python -m bench --quick                    everything, in little more than a minute
  python -m bench --only put4k,get4k         two rows
  python -m bench --only list --no-limits --profile list
                                             where a listing's time goes (needs py-spy)
  python -m bench --json before.json         results into a file of one's own

The exit code is 0 when everything could be measured, whether it reaches its target or not, and 1
when a row failed. docs/performance.md says what the rows mean.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures what the server does per second and what it costs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--list", action="store_true", help="list the rows and what they are to reach"
    )
    parser.add_argument("--only", metavar="ROWS", default="", help="only these rows, with commas")
    parser.add_argument(
        "--seconds", type=int, metavar="N", help=f"length of each load (default {SECONDS})"
    )
    parser.add_argument("--quick", action="store_true", help="fewer objects and shorter loads")
    parser.add_argument("--no-limits", action="store_true", help="leave out the machine's limits")
    parser.add_argument(
        "--profile", metavar="ROWS", default="", help="record these rows with py-spy"
    )
    parser.add_argument(
        "--patience",
        type=int,
        default=0,
        metavar="N",
        help="before each row wait up to N seconds until nothing else uses the machine",
    )
    parser.add_argument(
        "--dir",
        type=Path,
        default=RESULTS,
        metavar="DIR",
        help="where the datacenters keep their data meanwhile (default bench-results)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="default bench-results/DATE.json")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(f"{row.name:10} {row.title:38} {_wanted(row)}" for row in ROWS))
        return 0
    rows = _chosen(parser, options.only, options.profile)
    if options.seconds is not None and not 1 <= options.seconds <= 600:
        parser.error("--seconds must be from 1 to 600")
    missing = "" if wrk.available() else wrk.INSTALL
    if options.profile and not profiling.find_py_spy():
        missing = missing or profiling.INSTALL
    if missing:
        print(missing, file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        return _run(options, rows)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 1


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _wanted(row: Row) -> str:
    return ", ".join(f"{goal.limit:,g} {goal.unit}" for goal in row.goals if goal.limit is not None)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _chosen(parser: argparse.ArgumentParser, only: str, profile: str) -> list[Row]:
    known = [row.name for row in ROWS]
    wanted = _names(only) or known
    for name in [*wanted, *_names(profile)]:
        if name not in known:
            parser.error(f"there is no row {name!r}; there are {', '.join(known)}")
    if not set(_names(profile)) <= set(wanted):
        parser.error(f"--profile {profile} needs these rows: add them to --only")
    return [row for row in ROWS if row.name in wanted]


def _run(options: argparse.Namespace, rows: Sequence[Row]) -> int:
    settings = Settings(
        seconds=options.seconds or (SECONDS_QUICK if options.quick else SECONDS),
        quick=options.quick,
        profile=frozenset(_names(options.profile)),
        profile_folder=RESULTS / "profiles",
    )
    options.dir.mkdir(parents=True, exist_ok=True)
    facts = about(options.dir)
    facts["options"] = {"seconds": settings.seconds, "quick": settings.quick, "only": options.only}
    print(summary(facts))
    if filesystem(options.dir) == "tmpfs":
        print("WARNING: the data is kept in memory, not on a disk: nothing here is durable")
    results: list[Result] = []
    measured: list[limits.Limit] = []
    with World(options.dir, settings) as world:
        if not options.no_limits:
            print("\nThe machine's own limits:")
            wait_until_quiet(options.patience)
            for limit in limits.measure(world):
                measured.append(limit)
                print(limit_line(limit), flush=True)
        print("\nRows:")
        for row in rows:
            wait_until_quiet(options.patience)
            results.append(_measure(row, world))
            print(f"  {details(results[-1])}", flush=True)
    facts["machine"]["load_average_after"] = [round(each, 2) for each in os.getloadavg()]
    print(f"\n{table(results)}")
    path = options.json or RESULTS / f"{_file_name(facts)}.json"
    write(path, facts, summary(facts), measured, results)
    print(f"\nwritten to {path}, and as tables to {path.with_suffix('.md').name}")
    return 1 if any(result.failure for result in results) else 0


def _measure(row: Row, world: World) -> Result:
    world.row = row.name
    try:
        return Result(row, row.measure(world))
    except (BenchError, OSError, subprocess.SubprocessError, TimeoutError) as error:
        return Result(row, failure=f"{error}" or type(error).__name__)


def _file_name(facts: dict[str, Any]) -> str:
    return str(facts["date"])[:19].replace(":", "")
