"""What is drawn of the notary in a world: which buckets are notarized and when, and in which DCs a
hook never answers. Drawn apart from all else, so that worlds without it are what they were.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SHARE = 0.33
"""Of the worlds in which the DCs have a notary."""
KEPT_BUCKETS = 2
"""Buckets of the beginning that are notarized, at most: each entry costs some steps."""
Drawn = tuple[float, str, int, dict[str, Any]]
"""(moment, kind, DC, arguments) of an event."""


@dataclass(frozen=True)
class Proving:
    """How the notaries of a world are."""

    mirror_seconds: float
    again_seconds: float
    tile_bits: int
    """As in the product, or small: so that the few entries of a world fill tiles."""
    batch: int
    page: int
    hanging: tuple[int, ...]
    """DCs with a hook that never answers."""
    stamping: tuple[int, ...]
    """DCs with a hook that is told of everything, and gives timestamps."""
    restored: bool
    """A DC that is put back to an old copy has an old log then as well; else its names only."""


def proving_of(seed: int, dcs: int) -> Proving | None:
    rng = random.Random(f"{seed}/notary")
    if rng.random() > SHARE:
        return None
    return Proving(
        mirror_seconds=rng.choice([5.0, 20.0, 40.0]),
        again_seconds=rng.choice([10.0, 30.0]),
        tile_bits=rng.choice([1, 2, 8]),
        batch=rng.choice([1, 3, 500]),
        page=rng.choice([1, 3, 2000]),
        hanging=tuple(dc for dc in range(dcs) if rng.random() < 0.25),
        stamping=tuple(dc for dc in range(dcs) if rng.random() < 0.4),
        restored=rng.random() < 0.5,
    )


def switches(seed: int, dcs: int, seconds: float, made: Sequence[tuple[int, int]]) -> list[Drawn]:
    """The notary is switched on for some of the buckets of the beginning (`made`: buckets, with the
    DCs that make them) before anything is written, and on and off later. Now and then for the
    buckets of one name that two users make (`_contested` in `sim_plan.py`)."""
    rng = random.Random(f"{seed}/switches")
    count = min(len(made), rng.choice([1, 1, KEPT_BUCKETS]))
    chosen = rng.sample(list(made), count)
    what = {"owner": 0, "key": 0, "pick": 0}
    drawn: list[Drawn] = [
        (0.9, "notarize", dc, what | {"bucket": bucket, "on": True}) for bucket, dc in chosen
    ]
    for _ in range(rng.choice([0, 0, 2, 6])):
        args = {"bucket": rng.choice(made)[0], "on": rng.random() < 0.6}
        drawn.append((rng.uniform(1, seconds), "notarize", rng.randrange(dcs), what | args))
    if rng.random() < 0.5:
        for owner in range(2):
            args = {"bucket": 7, "owner": owner, "on": True}
            drawn.append((rng.uniform(4, 12), "notarize", rng.randrange(dcs), what | args))
    return drawn
