"""Conditions and locks, looked at in the transaction that writes."""

import asyncio

import pytest
from msgspec.structs import replace
from names_kit import OWNER, FixedClock, opened, tombstone, version

from dc.names.api import (
    NoSuchUpload,
    NoSuchVersion,
    NothingToMatch,
    ObjectLocked,
    PreconditionFailed,
)
from dc.names.locks import Retention, retention_text
from dc.names.model import Condition, Kind, Meta, Register, Removal, Upload
from dc.stamps import stamp_ms, version_id

DAY_MS = 24 * 3600 * 1000


@pytest.fixture
async def names(tmp_path):
    async with opened(tmp_path / "names.db", clock=FixedClock()) as found:
        yield found


@pytest.fixture
async def bucket(names):
    return (await names.create_bucket("photos", OWNER, "eu")).id


def made(names, bucket, key="k", *, null=False, kind=Kind.OBJECT):
    stamp = names.clock.now()
    return version(bucket, key, stamp, "" if null else version_id(stamp), kind)


async def put(names, bucket, key="k", **more):
    one = made(names, bucket, key, **more)
    await names.put(one)
    return one


def gone(names, one, **more):
    change = tombstone(one.bucket, one.key, names.clock.now(), one.vid)
    return Removal(change=change, **more)


IF_NONE = Condition(none_match=("*",))


async def test_a_put_is_made_only_if_the_current_version_is_as_it_must_be(names, bucket):
    first = await put(names, bucket)
    for condition in (
        Condition(match=("other",)),
        Condition(none_match=(first.etag,)),
        IF_NONE,
        Condition(size=first.size + 1),
        Condition(modified_s=stamp_ms(first.stamp) // 1000 + 1),
    ):
        with pytest.raises(PreconditionFailed) as refused:
            await names.put(made(names, bucket), only_if=condition)
        assert not isinstance(refused.value, NothingToMatch)
    assert (await names.current(bucket, "k")).stamp == first.stamp
    last = first
    for condition in (
        lambda last: Condition(match=("other", last.etag)),
        lambda _: Condition(match=("*",)),
        lambda _: Condition(none_match=("other",)),
        lambda last: Condition(size=last.size, modified_s=stamp_ms(last.stamp) // 1000),
    ):
        again = made(names, bucket)
        await names.put(again, only_if=condition(last))
        last = again
        assert (await names.current(bucket, "k")).stamp == last.stamp


async def test_where_nothing_is_there_is_nothing_to_match(names, bucket):
    for condition in (Condition(match=("*",)), Condition(match=("x",)), Condition(size=1)):
        with pytest.raises(NothingToMatch):
            await names.put(made(names, bucket), only_if=condition)
    await put(names, bucket, kind=Kind.DELETE_MARKER)
    with pytest.raises(NothingToMatch):
        await names.put(made(names, bucket), only_if=Condition(match=("*",)))
    await names.put(made(names, bucket), only_if=IF_NONE)


async def test_of_many_that_must_be_the_first_one_is(names, bucket):
    asked = [names.put(made(names, bucket), only_if=IF_NONE) for _ in range(100)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(one is None for one in outcomes) == 1
    assert all(isinstance(one, PreconditionFailed) for one in outcomes if one is not None)


async def test_an_upload_that_was_not_completed_stays(names, bucket):
    upload = Upload("u1", bucket, "k", OWNER, names.clock.now(), Meta())
    await names.create_upload(upload)
    await put(names, bucket)
    with pytest.raises(PreconditionFailed):
        await names.complete_upload("u1", made(names, bucket), only_if=IF_NONE)
    assert await names.upload("u1") == upload
    current = await names.current(bucket, "k")
    condition = Condition(match=(current.etag,))
    await names.complete_upload("u1", made(names, bucket), only_if=condition)
    with pytest.raises(NoSuchUpload):
        await names.complete_upload("u1", made(names, bucket), only_if=condition)


async def test_each_removal_has_an_outcome_of_its_own(names, bucket):
    one, other = await put(names, bucket, "one"), await put(names, bucket, "other")
    marker = await put(names, bucket, "marker", kind=Kind.DELETE_MARKER)
    never = made(names, bucket, "never")
    new_marker = made(names, bucket, "one", kind=Kind.DELETE_MARKER)
    outcomes = await names.remove(
        [
            gone(names, one, only_if=Condition(match=("wrong",))),
            gone(names, other, only_if=Condition(match=(other.etag,))),
            gone(names, marker),
            gone(names, never),
            gone(names, never, only_if=Condition(match=("*",))),
            Removal(change=new_marker),
            Removal(change=made(names, bucket, "one"), only_if=Condition(match=("wrong",))),
        ]
    )
    assert isinstance(outcomes[0], PreconditionFailed)
    assert outcomes[1:4] == [Kind.OBJECT, Kind.DELETE_MARKER, None]
    assert isinstance(outcomes[4], NothingToMatch)
    assert outcomes[5] is None
    assert isinstance(outcomes[6], PreconditionFailed)
    assert await names.version(bucket, "other", other.vid) is None
    assert (await names.current(bucket, "one")).vid == new_marker.vid


def lock(mode="GOVERNANCE", until=0, hold=""):
    found = {"retention": retention_text(Retention(mode, until))} if until else {}
    return found | ({"hold": hold} if hold else {})


async def test_what_is_locked_is_not_deleted(names, bucket):
    now = names._wall.wall_ms()
    for registers, bypass, refused in (
        (lock("COMPLIANCE", now + 1), True, True),
        (lock("COMPLIANCE", now), False, False),
        (lock("GOVERNANCE", now + DAY_MS), False, True),
        (lock("GOVERNANCE", now + DAY_MS), True, False),
        (lock("GOVERNANCE", now - DAY_MS), False, False),
        (lock(hold="ON"), True, True),
        (lock(hold="OFF"), False, False),
        (lock("GOVERNANCE", now - DAY_MS, "ON"), True, True),
        ({"retention": "what is this"}, True, True),
    ):
        one = await put(names, bucket)
        await names.set_registers(bucket, "k", one.vid, registers)
        (outcome,) = await names.remove([gone(names, one, bypass=bypass)])
        assert isinstance(outcome, ObjectLocked) == refused, registers
        assert (await names.version(bucket, "k", one.vid) is not None) == refused


async def test_attributes_are_of_the_write_that_was_meant(names, bucket):
    old = version(bucket, "k", names.clock.now())
    new = version(bucket, "k", names.clock.now())
    await names.put(old)
    await names.set_registers(bucket, "k", "", {"tags": "1"}, written=old.stamp)
    assert (await names.version(bucket, "k", "")).registers["tags"].value == "1"
    await names.put(new)
    await names.set_registers(bucket, "k", "", {"tags": "2"}, written=old.stamp)
    assert not (await names.version(bucket, "k", "")).registers
    await names.set_registers(bucket, "k", "", {"tags": "3"}, written=new.stamp)
    assert (await names.version(bucket, "k", "")).registers["tags"].value == "3"


async def test_a_lock_given_with_the_write_holds_from_the_first_moment(names, bucket):
    stamp = names.clock.now()
    registers = {"hold": Register(stamp, "ON")}
    one = version(bucket, "k", stamp, version_id(stamp))
    await names.put(replace(one, registers=registers))
    (outcome,) = await names.remove([gone(names, one)])
    assert isinstance(outcome, ObjectLocked)


async def test_a_retention_is_loosened_by_bypass_only_and_compliance_by_nobody(names, bucket):
    now = names._wall.wall_ms()
    for old, new, bypass, refused in (
        (("GOVERNANCE", now + 5), ("GOVERNANCE", now + 9), False, False),
        (("GOVERNANCE", now + 5), ("GOVERNANCE", now + 4), False, True),
        (("GOVERNANCE", now + 5), ("GOVERNANCE", now + 4), True, False),
        (("GOVERNANCE", now + 5), ("COMPLIANCE", now + 9), False, True),
        (("GOVERNANCE", now + 5), ("COMPLIANCE", now + 9), True, False),
        (("GOVERNANCE", now + 5), None, False, True),
        (("GOVERNANCE", now + 5), None, True, False),
        (("COMPLIANCE", now + 5), ("COMPLIANCE", now + 9), False, False),
        (("COMPLIANCE", now + 5), ("COMPLIANCE", now + 4), True, True),
        (("COMPLIANCE", now + 5), ("GOVERNANCE", now + 9), True, True),
        (("COMPLIANCE", now + 5), None, True, True),
        (("COMPLIANCE", now), None, False, False),
    ):
        one = await put(names, bucket)
        text = retention_text(Retention(*old))
        await names.set_registers(bucket, "k", one.vid, {"retention": text})
        wanted = {"retention": retention_text(Retention(*new)) if new else ""}
        if refused:
            with pytest.raises(ObjectLocked):
                await names.set_registers(bucket, "k", one.vid, wanted, bypass=bypass)
        else:
            await names.set_registers(bucket, "k", one.vid, wanted, bypass=bypass)
        value = (await names.version(bucket, "k", one.vid)).registers["retention"].value
        assert value == (text if refused else wanted["retention"])


async def test_where_there_may_be_locks_what_is_not_here_is_not_deleted(names, bucket):
    never, one = made(names, bucket), await put(names, bucket)
    (outcome,) = await names.remove([gone(names, never, lockable=True)])
    assert isinstance(outcome, NoSuchVersion)
    assert await names.remove([gone(names, one, lockable=True)]) == [Kind.OBJECT]
    assert await names.remove([gone(names, one, lockable=True)]) == [None], "it was deleted here"


async def test_a_bucket_is_made_with_its_attributes(names):
    made = await names.create_bucket("locked", OWNER, "eu", registers={"versioning": "Enabled"})
    assert made.registers == {"versioning": Register(made.created, "Enabled")}
    await names.delete_bucket(made.id)
    again = await names.create_bucket("locked", OWNER, "eu", registers={"versioning": "Suspended"})
    assert again.registers == {"versioning": Register(again.created, "Suspended")}
    assert names.directory.bucket("locked") == again


async def test_what_is_no_text_harms_only_who_sets_it(names, bucket):
    one = await put(names, bucket, null=True)
    for value in ("\ud800", "a\udfff"):
        with pytest.raises(ValueError):
            await names.set_registers(bucket, "k", "", {"tags": value})
        with pytest.raises(ValueError):
            await names.set_bucket_registers(bucket, {"policy": value})
    await names.set_registers(bucket, "k", "", {"tags": "good"})
    assert (await names.version(bucket, "k", "")).stamp == one.stamp
