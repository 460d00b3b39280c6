"""Simulated worlds, one for each seed: `python tests/world/simulate.py --seeds 1000`.

Ends with status 1 at the first seed that fails, after shrinking it. `--seed K --verbose` plays one
world and tells everything that happens in it.
"""

import argparse
import gc
import multiprocessing
import sys
import time
from functools import partial

from sim_plan import ON_DEMAND, Plan, plan_of
from sim_shrink import shrink
from sim_world import Result, run

LINE_EACH_S = 5.0
WORLDS_EACH = 2000
"""Worlds in one process."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--verbose", action="store_true", help="with --seed: tell everything")
    parser.add_argument("--keep-going", action="store_true", help="do not end at a failure")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--also", nargs="*", default=[], choices=ON_DEMAND, help="more faults")
    asked = parser.parse_args()
    asked.also = tuple(asked.also)
    if asked.seed is not None:
        return _one(plan_of(asked.seed, asked.also), asked.verbose, not asked.no_shrink)
    return _many(asked)


def _one(plan: Plan, verbose: bool, shrinks: bool) -> int:
    result = run(plan, verbose)
    if verbose:
        print(plan)
        print("\n".join(result.notes))
    if not result.check:
        print(f"seed {plan.seed} passed: {_figures(result)}")
        return 0
    _tell(plan, result, shrinks)
    return 1


def _many(asked: argparse.Namespace) -> int:
    """All seeds, in order; progress now and then."""
    seeds = range(asked.first, asked.first + asked.seeds)
    began = said = time.monotonic()
    passed, failed, simulated, told, steps = 0, [], 0.0, 0, 0
    context = multiprocessing.get_context("spawn")
    with context.Pool(asked.jobs, _prepare_worker, maxtasksperchild=WORLDS_EACH) as pool:
        for result in pool.imap(partial(_world, also=asked.also), seeds):
            simulated, told = simulated + result.seconds, told + result.told
            steps += result.steps
            if result.check:
                failed.append(result.seed)
                print(f"seed {result.seed} FAILED: {result.check}: {result.story}", flush=True)
                if not asked.keep_going:
                    break
            else:
                passed += 1
            now = time.monotonic()
            if now - said > LINE_EACH_S:
                said = now
                rate = (passed + len(failed)) / (now - began)
                print(f"{passed} passed, {len(failed)} failed, {rate:.1f} a second", flush=True)
    took = time.monotonic() - began
    print(
        f"{passed} seeds passed, {len(failed)} failed {failed or ''}: {simulated / 3600:.1f}"
        f" simulated hours, {told} acknowledged operations, {steps} steps in {took:.0f} s"
    )
    if failed and not asked.no_shrink:
        plan = plan_of(failed[0], asked.also)
        _tell(plan, run(plan), True)
    return 1 if failed else 0


def _prepare_worker() -> None:
    """What is imported stays: it is not looked through for garbage again and again."""
    gc.collect()
    gc.freeze()
    gc.disable()


def _world(seed: int, also: tuple[str, ...]) -> Result:
    return run(plan_of(seed, also))


def _tell(plan: Plan, result: Result, shrinks: bool) -> None:
    """The story of a failure."""
    print(f"\nseed {plan.seed} failed: {result.check}: {result.story}\n")
    if shrinks:
        plan, result = shrink(plan, result.check, say=lambda text: print(f"  {text}", flush=True))
        print(f"\nthe smallest history that fails: {result.check}: {result.story}\n")
    print(plan)
    for number, outcome in sorted(result.outcomes.items()):
        print(f"  #{number}: {outcome}")
    print(f"\nplay it again: python tests/world/simulate.py --seed {plan.seed} --verbose")


def _figures(result: Result) -> str:
    return (
        f"{result.seconds:.0f} s simulated, {result.steps} steps, {result.told} acknowledged,"
        f" equal after {result.healed_in:.0f} s, trace {result.trace}"
    )


if __name__ == "__main__":
    sys.exit(main())
