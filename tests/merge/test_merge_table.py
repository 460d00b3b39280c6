"""docs/conflicts.md, cell by cell: what two datacenters do to one thing, apart and not.

Each cell is played with either datacenter acting first, with the changes carried in either
direction first, and then once more with everything that ever came coming again, the last first.
"""

import re
from pathlib import Path

import cells_directory
import pytest
from cells_objects import CELLS, cell
from merge_kit import Outcome, Place, Stage, plain, stage

from dc.names.model import Kind

PAGE = Path(__file__).parents[2] / "docs" / "conflicts.md"
ROW = re.compile(r"^\| `([a-z]+(?:-[a-z]+)+)` \|(.*)\|$", re.MULTILINE)

assert cells_directory.cell is cell


def rows() -> dict[str, list[str]]:
    """The columns of each row of the page's tables: what, apart, after hearing of it."""
    found = ROW.findall(PAGE.read_text())
    names = [name for name, _ in found]
    assert len(names) == len(set(names)), "a cell has one row"
    return {name: [column.strip() for column in columns.split("|")] for name, columns in found}


async def check_at(t: Stage, outcome: Outcome, place: Place) -> None:
    """The outcome is so at a datacenter."""
    for key, wanted in outcome.current.items():
        found = await place.names.current(t.bucket, key)
        if wanted is None:
            assert found is None or found.kind == Kind.DELETE_MARKER, place.name
        else:
            assert found is not None and plain(found) == plain(wanted), place.name
    facts = await place.facts()
    versions = facts["versions"]
    assert isinstance(versions, dict)
    there = [(one.key, one.stamp) for one in versions.values()]
    wanted_there = [(key, one.stamp) for key, some in outcome.versions.items() for one in some]
    assert sorted(there) == sorted(wanted_there), place.name
    kept = await place.names.conflicts()
    assert [plain(one.loser) for one in kept] == sorted(
        map(plain, outcome.kept), key=lambda one: (one.bucket, one.key, one.stamp)
    ), place.name
    assert all(one.winner > one.loser.stamp and one.loser.extents for one in kept)
    assert await place.names.conflict_count() == len(kept)
    if outcome.also is not None:
        assert await outcome.also(place), place.name


async def check_everywhere(t: Stage, outcome: Outcome) -> None:
    """The outcome is so at all datacenters, once everything is everywhere."""
    await t.share()
    places = [t.first, t.second, t.third]
    for place in places:
        await check_at(t, outcome, place)
    facts = [await place.facts() for place in places]
    assert facts[0] == facts[1] == facts[2]
    assert facts[0]["roots"]


WAYS = [
    # The second has heard of the first; who acts first; whose changes are carried first.
    *((False, first, carried) for first in ("paris", "tokyo") for carried in ("first", "second")),
    (True, "paris", "first"),
    (True, "tokyo", "second"),
]


@pytest.mark.parametrize(
    ("seen", "first", "carried"),
    WAYS,
    ids=[f"{'heard' if seen else 'apart'}-{first}-{carried}" for seen, first, carried in WAYS],
)
@pytest.mark.parametrize("name", CELLS)
async def test_a_cell_of_the_table(
    tmp_path: Path, name: str, seen: bool, first: str, carried: str
) -> None:
    second = {"paris": "tokyo", "tokyo": "paris"}[first]
    async with stage(tmp_path, first=first, second=second, seen=seen) as t:
        outcome = await CELLS[name](t)
        said = rows()[name][2 if seen else 1]
        assert ("**kept**" in said) == bool(outcome.kept), "the page says when something is kept"
        one, other = (t.first, t.second) if carried == "first" else (t.second, t.first)
        await other.take(one)
        await one.take(other)
        await check_everywhere(t, outcome)

        # All of it again, late and in another order.
        for place in (t.first, t.second, t.third):
            for batch in reversed(list(place.batches)):
                await place.apply(list(reversed(batch)))
        await check_everywhere(t, outcome)


def test_every_row_has_a_test_and_every_test_a_row() -> None:
    assert sorted(rows()) == sorted(CELLS)
    assert len(CELLS) > 50
    assert all(len(columns) == 3 and all(columns) for columns in rows().values())


async def test_what_a_failing_exchange_would_look_like(tmp_path: Path) -> None:
    """The checks see a difference when there is one."""
    async with stage(tmp_path, first="paris", second="tokyo", seen=False) as t:
        await t.first.put("k", bucket=t.bucket)
        here, there = await t.first.facts(), await t.second.facts()
        assert here["roots"] != there["roots"] and here["versions"] != there["versions"]
        with pytest.raises(AssertionError):
            await check_at(t, Outcome(), t.first)
        await check_at(t, Outcome(), t.second)
