"""Records that no proper DC makes: whatever they say, DCs agree on them and come to rest."""

import itertools
import random
from pathlib import Path

import msgspec
import pytest
from dcs_kit import Site, bare, bucket_of, exchange, sites, state
from names_kit import OWNER, TOKYO, stamp_at

from dc.names.attributes import REGISTERS_MAX, join_of_version, join_registers
from dc.names.model import (
    Bucket,
    Change,
    Conflict,
    Known,
    Register,
    Registers,
    User,
    bucket_id,
)
from dc.notary import NOTARY
from dc.stamps import stamp_after

MADE = stamp_at(1_000, origin=TOKYO)
BUCKET = Bucket(id=bucket_id(OWNER, "b"), name="b", owner=OWNER, region="eu", created=MADE)
ANN = User(id="c" * 64, email="ann@example.com", stamp=MADE)


async def quiet(one: Site, other: Site) -> bool:
    """Whether two DCs that take each other's feeds, at the same moments, come to rest."""
    ends = 0, 0
    for _ in range(8):
        ours, end, _ = await one.names.feed(ends[0], 100)
        theirs, their_end, _ = await other.names.feed(ends[1], 100)
        if (end, their_end) == ends:
            return True
        ends = end, their_end
        await one.apply([entry.change for entry in theirs])
        await other.apply([entry.change for entry in ours])
    return False


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (BUCKET, msgspec.structs.replace(BUCKET, name="c")),
        (BUCKET, msgspec.structs.replace(BUCKET, owner="d" * 64)),
        (ANN, msgspec.structs.replace(ANN, email="bob@example.com")),
    ],
)
async def test_two_records_with_one_stamp_do_not_go_round_for_ever(
    tmp_path: Path, here: Change, there: Change
) -> None:
    async with sites(tmp_path) as (one, other):
        await one.names.apply([here])
        await other.names.apply([there])
        assert await quiet(one, other)
        assert await state(one.names) == await state(other.names)


def test_more_attributes_than_may_travel_are_the_same_in_any_order() -> None:
    dice = random.Random(7)
    some = []
    for _ in range(4):
        names = dice.sample(range(60), 25)
        stamps = [stamp_at(dice.randrange(9)) for _ in names]
        some.append({f"r{name}": Register(at, "") for name, at in zip(names, stamps, strict=True)})
    found = []
    for order in itertools.permutations(some):
        joined = join_registers(join_registers(order[0], order[1]), order[2])
        found.append(join_registers(order[3], joined))
        pairs = join_registers(order[0], order[1]), join_registers(order[2], order[3])
        found.append(join_registers(*pairs))
    assert all(one == found[0] for one in found)
    assert len(found[0]) == REGISTERS_MAX


FOUND, FALSE = "ab" * 32, "ff" * 32
LATER = stamp_at(1 << 42, origin=TOKYO)
FLOOD = {f"r{n}": Register(LATER, "") for n in range(REGISTERS_MAX)}


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ({NOTARY: Register(LATER, FALSE)}, FOUND),
        ({NOTARY: Register(LATER, "")}, FOUND),
        ({NOTARY: Register(MADE, "x" * 70_000)}, FOUND),
        ({NOTARY: Register(MADE, "AB" * 32)}, FOUND),
        ({NOTARY: Register(MADE, FALSE)}, "-"),
        ({NOTARY: Register(MADE, "00" * 32)}, "-"),
        ({}, FOUND),
        (FLOOD, FOUND),
    ],
)
async def test_nobody_makes_another_sha256_of_a_version_that_there_is(
    tmp_path: Path, told: Registers, left: str
) -> None:
    """In whatever order it is heard of: of two that it may have been born with, neither counts."""
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        made = await one.put(bucket, "k")
        lie = {
            name: Register(made.stamp, register.value) if register.stamp == MADE else register
            for name, register in told.items()
        }
        true = msgspec.structs.replace(made, registers={NOTARY: Register(made.stamp, FOUND)})
        false = msgspec.structs.replace(made, registers=lie)
        await one.apply([true], along=True)
        await one.apply([false], along=True)
        await other.apply([bucket, false], along=True)
        await other.apply([true], along=True)
        for site in (one, other):
            found = await site.version(bucket, "k")
            assert found is not None and len(found.registers) <= REGISTERS_MAX
            assert found.registers[NOTARY] == Register(made.stamp, left)
        assert await quiet(one, other)
        assert await state(one.names) == await state(other.names)


async def test_what_a_version_cannot_be_born_with_is_left_out(tmp_path: Path) -> None:
    """Also of one that was not known before, or is in a conflict."""
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        made = await one.put(bucket, "k")
        lie = msgspec.structs.replace(made, registers={NOTARY: Register(LATER, FALSE)})
        lost = msgspec.structs.replace(lie, key="lost")
        conflict = Conflict(loser=lost, winner=stamp_after(made.stamp, TOKYO))
        await other.apply([bucket, lie, conflict], along=True)
        found = await other.version(bucket, "k")
        assert found is not None and found.registers == {}
        [conflict] = await other.names.conflicts()
        assert conflict.loser.registers == {}


def test_what_is_said_of_the_notary_is_joined_in_any_order() -> None:
    dice = random.Random(9)
    values = [FOUND, FALSE, "-", "", "no hash"]
    for _ in range(50):
        some = []
        for _ in range(3):
            names = dice.sample(range(60), dice.randrange(REGISTERS_MAX))
            registers = {f"r{name}": Register(stamp_at(dice.randrange(9)), "") for name in names}
            if dice.random() < 0.7:
                registers[NOTARY] = Register(dice.choice([MADE, LATER]), dice.choice(values))
            some.append(registers)
        found = []
        for a, b, c in itertools.permutations(some):
            found.append(join_of_version(join_of_version(a, b, MADE), c, MADE))
            found.append(join_of_version(a, join_of_version(b, c, MADE), MADE))
        assert all(one == found[0] for one in found)
        assert join_of_version(found[0], found[0], MADE) == found[0]


async def test_an_object_takes_no_more_attributes_than_may_travel(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        made = await one.put(bucket, "k")
        for begin in (0, 20):
            registers = {f"r{n}": Register(stamp_at(n), "") for n in range(begin, begin + 30)}
            await one.apply([msgspec.structs.replace(made, registers=registers)], along=True)
        await exchange(one, other)
        for site in (one, other):
            found = await site.version(bucket, "k")
            assert found is not None
            assert sorted(found.registers) == sorted(f"r{n}" for n in range(18, 50))


async def test_a_settled_conflict_does_not_hide_its_loser(tmp_path: Path) -> None:
    """When what it lost to is forgotten, and it still is current elsewhere: large or small, it is
    taken, so that both have the same."""
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        await exchange(one, other)
        lost = await other.put(bucket, "k")
        winner = one.names.clock.now()
        await one.names.apply([Conflict(loser=lost, winner=winner, gone=True)])
        assert await one.names.known([bare(lost)]) == [Known.NEW]
        await exchange(one, other)
        assert await state(one.names) == await state(other.names)
        assert await one.version(bucket, "k") is not None
