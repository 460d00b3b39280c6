"""Whatever DCs do, and in whatever order they hear of it: they agree, and lose nothing unseen."""

import random
import tempfile
from pathlib import Path

import pytest
from dcs_model import KEYS, World, world

WEIGHTS = {
    "put": 12,
    "marker": 2,
    "delete": 6,
    "version": 3,
    "unversion": 2,
    "tag": 4,
    "drop": 2,
    "restore": 2,
    "bucket": 4,
    "take": 14,
    "round": 4,
    "keep up": 5,
    "start again": 1,
}
PLAYS = 8


async def do(dcs: World, dice: random.Random, what: str) -> None:
    site, other = dice.choice(dcs.sites), dice.choice(dcs.sites)
    key = dice.choice(KEYS)
    acts = {
        "put": dcs.put,
        "delete": dcs.delete,
        "version": dcs.put_version,
        "unversion": dcs.delete_version,
        "tag": dcs.tag,
        "drop": dcs.drop,
        "restore": dcs.restore,
        "bucket": dcs.bucket,
    }
    if what in acts:
        await acts[what](site, key)
    elif what == "marker":
        await dcs.put(site, key, marker=True)
    elif what == "take":
        await dcs.take(site, other, dice.choice([1, 2, 3, 1000]), dice.random() < 0.5)
    elif what == "round":
        # Each takes from the next one, all of it; not enough for all to have everything.
        for one, after in zip(dcs.sites, [*dcs.sites[1:], dcs.sites[0]], strict=True):
            await dcs.take(one, after, 1000, dice.random() < 0.5)
    elif what == "keep up":
        for _ in range(dice.choice([1, 3])):
            await dcs.keep_up(site)
    else:
        await dcs.start_again(site)


@pytest.mark.parametrize("seed", range(15))
async def test_everything_converges_and_nothing_unseen_is_lost(seed: int) -> None:
    for play in range(PLAYS):
        dice = random.Random(seed * PLAYS + play)
        with tempfile.TemporaryDirectory() as folder:
            async with world(Path(folder), dice.choice([2, 3])) as dcs:
                for _ in range(dice.choice([10, 30, 60])):
                    [what] = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))
                    await do(dcs, dice, what)
                assert await dcs.converge() > 0
