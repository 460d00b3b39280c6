"""The cells of docs/conflicts.md about objects: what is done at two datacenters, and what must be
so afterwards, everywhere. The name of a cell says what was done, the earlier first."""

from collections.abc import Awaitable, Callable

import pytest
from merge_kit import Outcome, Place, Stage
from names_kit import OWNER

from dc.names.api import NoSuchVersion, ObjectLocked, PreconditionFailed
from dc.names.model import Condition, Extent, Kind, Meta, Upload, UploadPart, Version

Cell = Callable[[Stage], Awaitable[Outcome]]
CELLS: dict[str, Cell] = {}


def cell(name: str) -> Callable[[Cell], Cell]:
    """Names a cell as its row in the docs."""

    def add(play: Cell) -> Cell:
        assert name not in CELLS
        CELLS[name] = play
        return play

    return add


async def base(t: Stage, *, versioned: bool = False) -> Version:
    """An object that everybody has."""
    made = await t.first.put("k", bucket=t.bucket, versioned=versioned, text="base")
    await t.share()
    return made


# -- objects of buckets without versioning --------------------------------------------------------


@cell("put-put")
async def _(t: Stage) -> Outcome:
    await base(t)
    early = await t.first.put("k", bucket=t.bucket)
    await t.between()
    late = await t.second.put("k", bucket=t.bucket)
    return Outcome({"k": late}, {"k": [late]}, [] if t.seen else [early])


@cell("put-delete")
async def _(t: Stage) -> Outcome:
    await base(t)
    early = await t.first.put("k", bucket=t.bucket)
    await t.between()
    await t.second.delete("k", bucket=t.bucket)
    return Outcome({"k": None}, {}, [] if t.seen else [early])


@cell("delete-put")
async def _(t: Stage) -> Outcome:
    await base(t)
    await t.first.delete("k", bucket=t.bucket)
    await t.between()
    late = await t.second.put("k", bucket=t.bucket)
    return Outcome({"k": late}, {"k": [late]})


@cell("delete-delete")
async def _(t: Stage) -> Outcome:
    await base(t)
    await t.first.delete("k", bucket=t.bucket)
    await t.between()
    await t.second.delete("k", bucket=t.bucket)
    return Outcome({"k": None})


@cell("put-put-put")
async def _(t: Stage) -> Outcome:
    await base(t)
    one = await t.first.put("k", bucket=t.bucket)
    await t.between()
    two = await t.second.put("k", bucket=t.bucket)
    if t.seen:
        await t.third.take(t.second)
    three = await t.third.put("k", bucket=t.bucket)
    return Outcome({"k": three}, {"k": [three]}, [] if t.seen else [one, two])


async def multipart(place: Place, t: Stage) -> Version:
    """A completed upload, which was begun before."""
    text = f"parts of {place.name}"
    started = place.stamp()
    upload = Upload(f"u{place.name}", t.bucket, "k", OWNER, started, Meta())
    await place.names.create_upload(upload)
    extents = [Extent(1 << 60, 64, len(text))]
    part = UploadPart(1, len(text), "e" * 32, place.stamp(), 1, {}, extents)
    await place.names.put_part(upload.id, part)
    made = Version(t.bucket, "k", "", place.stamp(), 0, len(text), f"{'e' * 32}-1", Meta(), extents)
    await place.names.complete_upload(upload.id, made)
    return made


@cell("multipart-put")
async def _(t: Stage) -> Outcome:
    await base(t)
    early = await multipart(t.first, t)
    await t.between()
    late = await t.second.put("k", bucket=t.bucket)
    return Outcome({"k": late}, {"k": [late]}, [] if t.seen else [early])


@cell("put-multipart")
async def _(t: Stage) -> Outcome:
    await base(t)
    early = await t.first.put("k", bucket=t.bucket)
    await t.between()
    late = await multipart(t.second, t)
    return Outcome({"k": late}, {"k": [late]}, [] if t.seen else [early])


@cell("copy-put")
async def _(t: Stage) -> Outcome:
    source = await base(t)
    early = await t.first.put("copy", bucket=t.bucket, text="base")
    await t.between()
    late = await t.second.put("copy", bucket=t.bucket)
    both = {"copy": [late], "k": [source]}
    return Outcome({"copy": late, "k": source}, both, [] if t.seen else [early])


@cell("delete-copy")
async def _(t: Stage) -> Outcome:
    await base(t)
    await t.first.delete("k", bucket=t.bucket)
    # Its DC has the source still; had it heard, there would be nothing to copy.
    await t.between()
    if t.seen:
        assert await t.second.names.current(t.bucket, "k") is None
        return Outcome({"k": None, "copy": None})
    copied = await t.second.put("copy", bucket=t.bucket, text="base")
    return Outcome({"k": None, "copy": copied}, {"copy": [copied]})


# -- versions ------------------------------------------------------------------------------------


@cell("version-version")
async def _(t: Stage) -> Outcome:
    early = await t.first.put("k", bucket=t.bucket, versioned=True)
    await t.between()
    late = await t.second.put("k", bucket=t.bucket, versioned=True)
    return Outcome({"k": late}, {"k": [early, late]})


@cell("version-marker")
async def _(t: Stage) -> Outcome:
    early = await t.first.put("k", bucket=t.bucket, versioned=True)
    await t.between()
    marker = await t.second.put("k", bucket=t.bucket, versioned=True, marker=True)
    return Outcome({"k": None}, {"k": [early, marker]})


@cell("marker-version")
async def _(t: Stage) -> Outcome:
    marker = await t.first.put("k", bucket=t.bucket, versioned=True, marker=True)
    await t.between()
    late = await t.second.put("k", bucket=t.bucket, versioned=True)
    return Outcome({"k": late}, {"k": [marker, late]})


@cell("marker-marker")
async def _(t: Stage) -> Outcome:
    made = await base(t, versioned=True)
    one = await t.first.put("k", bucket=t.bucket, versioned=True, marker=True)
    await t.between()
    two = await t.second.put("k", bucket=t.bucket, versioned=True, marker=True)
    return Outcome({"k": None}, {"k": [made, one, two]})


@cell("unmarker-version")
async def _(t: Stage) -> Outcome:
    await base(t, versioned=True)
    marker = await t.first.put("k", bucket=t.bucket, versioned=True, marker=True)
    await t.share()
    versions = [await t.first.names.version(t.bucket, "k", marker.vid)]
    assert versions != [None]
    await t.first.delete("k", bucket=t.bucket, vid=marker.vid)
    await t.between()
    late = await t.second.put("k", bucket=t.bucket, versioned=True)
    return Outcome({"k": late}, {"k": [(await oldest(t)), late]})


async def oldest(t: Stage) -> Version:
    """The version that all began with."""
    facts = await t.third.facts()
    versions = facts["versions"]
    assert isinstance(versions, dict)
    made: Version = min(versions.values(), key=lambda one: one.stamp)
    return made


@cell("deleteversion-version")
async def _(t: Stage) -> Outcome:
    made = await base(t, versioned=True)
    await t.first.delete("k", bucket=t.bucket, vid=made.vid)
    await t.between()
    late = await t.second.put("k", bucket=t.bucket, versioned=True)
    return Outcome({"k": late}, {"k": [late]})


@cell("deleteversion-deleteversion")
async def _(t: Stage) -> Outcome:
    made = await base(t, versioned=True)
    await t.first.delete("k", bucket=t.bucket, vid=made.vid)
    await t.between()
    await t.second.delete("k", bucket=t.bucket, vid=made.vid)
    return Outcome({"k": None})


@cell("deleteversion-tag")
async def _(t: Stage) -> Outcome:
    made = await base(t, versioned=True)
    await t.first.delete("k", bucket=t.bucket, vid=made.vid)
    await t.between()
    if t.seen:
        with pytest.raises(NoSuchVersion):
            await t.second.tag("k", bucket=t.bucket, vid=made.vid, tags="late")
    else:
        await t.second.tag("k", bucket=t.bucket, vid=made.vid, tags="late")
    return Outcome({"k": None})


@cell("tag-deleteversion")
async def _(t: Stage) -> Outcome:
    made = await base(t, versioned=True)
    await t.first.tag("k", bucket=t.bucket, vid=made.vid, tags="early")
    await t.between()
    await t.second.delete("k", bucket=t.bucket, vid=made.vid)
    return Outcome({"k": None})


# -- locks and conditions --------------------------------------------------------------------------


@cell("lockedversion-deleteversion")
async def _(t: Stage) -> Outcome:
    made = await t.first.put("k", bucket=t.bucket, versioned=True, hold="ON")
    await t.between()
    outcome = await t.second.remove("k", bucket=t.bucket, vid=made.vid)
    assert isinstance(outcome, ObjectLocked if t.seen else NoSuchVersion)
    return Outcome({"k": made}, {"k": [made]})


@cell("lock-deleteversion")
async def _(t: Stage) -> Outcome:
    made = await base(t, versioned=True)
    await t.first.tag("k", bucket=t.bucket, vid=made.vid, hold="ON")
    await t.between()
    outcome = await t.second.remove("k", bucket=t.bucket, vid=made.vid)
    if not t.seen:
        assert outcome is Kind.OBJECT
        return Outcome({"k": None})
    assert isinstance(outcome, ObjectLocked)
    held = await t.second.names.version(t.bucket, "k", made.vid)
    assert held is not None
    return Outcome({"k": held}, {"k": [held]})


@cell("deleteversion-lock")
async def _(t: Stage) -> Outcome:
    made = await base(t, versioned=True)
    assert await t.first.remove("k", bucket=t.bucket, vid=made.vid) is Kind.OBJECT
    await t.between()
    if t.seen:
        with pytest.raises(NoSuchVersion):
            await t.second.tag("k", bucket=t.bucket, vid=made.vid, hold="ON")
    else:
        await t.second.tag("k", bucket=t.bucket, vid=made.vid, hold="ON")
    return Outcome({"k": None})


@cell("putifnone-putifnone")
async def _(t: Stage) -> Outcome:
    condition = Condition(none_match=("*",))
    early = await t.first.put("k", bucket=t.bucket, only_if=condition)
    await t.between()
    if t.seen:
        with pytest.raises(PreconditionFailed):
            await t.second.put("k", bucket=t.bucket, only_if=condition)
        return Outcome({"k": early}, {"k": [early]})
    late = await t.second.put("k", bucket=t.bucket, only_if=condition)
    return Outcome({"k": late}, {"k": [late]}, [early])


@cell("put-putifmatch")
async def _(t: Stage) -> Outcome:
    old = await base(t)
    early = await t.first.put("k", bucket=t.bucket)
    await t.between()
    condition = Condition(match=(old.etag,))
    if t.seen:
        with pytest.raises(PreconditionFailed):
            await t.second.put("k", bucket=t.bucket, only_if=condition)
        return Outcome({"k": early}, {"k": [early]})
    late = await t.second.put("k", bucket=t.bucket, only_if=condition)
    return Outcome({"k": late}, {"k": [late]}, [early])


# -- the null version of a bucket whose versioning is suspended ------------------------------------


@cell("null-null")
async def _(t: Stage) -> Outcome:
    old = await base(t, versioned=True)
    early = await t.first.put("k", bucket=t.bucket)
    await t.between()
    late = await t.second.put("k", bucket=t.bucket)
    return Outcome({"k": late}, {"k": [old, late]}, [] if t.seen else [early])


@cell("null-version")
async def _(t: Stage) -> Outcome:
    null = await t.first.put("k", bucket=t.bucket)
    await t.between()
    late = await t.second.put("k", bucket=t.bucket, versioned=True)
    return Outcome({"k": late}, {"k": [null, late]})


@cell("version-null")
async def _(t: Stage) -> Outcome:
    early = await t.first.put("k", bucket=t.bucket, versioned=True)
    await t.between()
    null = await t.second.put("k", bucket=t.bucket)
    return Outcome({"k": null}, {"k": [early, null]})


@cell("null-nullmarker")
async def _(t: Stage) -> Outcome:
    early = await t.first.put("k", bucket=t.bucket)
    await t.between()
    marker = await t.second.put("k", bucket=t.bucket, marker=True)
    return Outcome({"k": None}, {"k": [marker]}, [] if t.seen else [early])


@cell("nullmarker-null")
async def _(t: Stage) -> Outcome:
    await base(t)
    await t.first.put("k", bucket=t.bucket, marker=True)
    await t.between()
    late = await t.second.put("k", bucket=t.bucket)
    return Outcome({"k": late}, {"k": [late]})


# -- attributes of objects -------------------------------------------------------------------------


def tagged(t: Stage, vid: str = "", **wanted: str) -> Callable[[Place], Awaitable[bool]]:
    """Whether the object has these attributes, and no others."""

    async def look(place: Place) -> bool:
        found = await place.names.version(t.bucket, "k", vid)
        assert found is not None
        return {name: one.value for name, one in found.registers.items()} == wanted

    return look


@cell("tag-tag")
async def _(t: Stage) -> Outcome:
    made = await base(t)
    await t.first.tag("k", bucket=t.bucket, tags="early")
    await t.between()
    await t.second.tag("k", bucket=t.bucket, tags="late")
    return Outcome({"k": made}, {"k": [made]}, also=tagged(t, tags="late"))


@cell("tag-acl")
async def _(t: Stage) -> Outcome:
    made = await base(t)
    await t.first.tag("k", bucket=t.bucket, tags="early")
    await t.between()
    await t.second.tag("k", bucket=t.bucket, acl="late")
    return Outcome({"k": made}, {"k": [made]}, also=tagged(t, tags="early", acl="late"))


@cell("tag-put")
async def _(t: Stage) -> Outcome:
    await base(t)
    await t.first.tag("k", bucket=t.bucket, tags="early")
    await t.between()
    late = await t.second.put("k", bucket=t.bucket)
    return Outcome({"k": late}, {"k": [late]}, also=tagged(t))


@cell("put-tag")
async def _(t: Stage) -> Outcome:
    await base(t)
    early = await t.first.put("k", bucket=t.bucket)
    await t.between()
    await t.second.tag("k", bucket=t.bucket, tags="late")
    wanted = {"tags": "late"} if t.seen else {}
    return Outcome({"k": early}, {"k": [early]}, also=tagged(t, **wanted))


@cell("tag-delete")
async def _(t: Stage) -> Outcome:
    await base(t)
    await t.first.tag("k", bucket=t.bucket, tags="early")
    await t.between()
    await t.second.delete("k", bucket=t.bucket)
    return Outcome({"k": None})


@cell("delete-tag")
async def _(t: Stage) -> Outcome:
    await base(t)
    await t.first.delete("k", bucket=t.bucket)
    await t.between()
    if t.seen:
        with pytest.raises(NoSuchVersion):
            await t.second.tag("k", bucket=t.bucket, tags="late")
    else:
        await t.second.tag("k", bucket=t.bucket, tags="late")
    return Outcome({"k": None})


@cell("tagged-put")
async def _(t: Stage) -> Outcome:
    await base(t)
    early = await t.first.put("k", bucket=t.bucket)
    await t.first.tag("k", bucket=t.bucket, tags="of the loser")
    await t.between()
    late = await t.second.put("k", bucket=t.bucket)

    async def keeps_its_tags(place: Place) -> bool:
        for one in await place.names.conflicts():
            assert one.loser.registers["tags"].value == "of the loser"
        return await tagged(t)(place)

    kept = [] if t.seen else [early]
    return Outcome({"k": late}, {"k": [late]}, kept, also=keeps_its_tags)


# -- conflicts themselves --------------------------------------------------------------------------


async def conflict(t: Stage) -> tuple[Version, Version]:
    """A loser and a winner that everybody knows."""
    loser = await t.first.put("k", bucket=t.bucket)
    winner = await t.second.put("k", bucket=t.bucket)
    await t.share()
    assert [one.loser.stamp for one in await t.third.names.conflicts()] == [loser.stamp]
    return loser, winner


@cell("restore-restore")
async def _(t: Stage) -> Outcome:
    loser, _ = await conflict(t)
    one = await t.first.settle(loser, restore=True)
    assert one is not None
    await t.between()
    if t.seen:
        with pytest.raises(Exception, match="no conflict"):
            await t.second.settle(loser, restore=True)
        return Outcome({"k": one}, {"k": [one]})
    two = await t.second.settle(loser, restore=True)
    assert two is not None and (two.etag, two.size) == (loser.etag, loser.size)
    return Outcome({"k": two}, {"k": [two]}, [one])


@cell("restore-drop")
async def _(t: Stage) -> Outcome:
    loser, _ = await conflict(t)
    one = await t.first.settle(loser, restore=True)
    assert one is not None
    await t.between()
    if t.seen:
        with pytest.raises(Exception, match="no conflict"):
            await t.second.settle(loser, restore=False)
    else:
        await t.second.settle(loser, restore=False)
    return Outcome({"k": one}, {"k": [one]})


@cell("drop-restore")
async def _(t: Stage) -> Outcome:
    loser, winner = await conflict(t)
    await t.first.settle(loser, restore=False)
    await t.between()
    if t.seen:
        with pytest.raises(Exception, match="no conflict"):
            await t.second.settle(loser, restore=True)
        return Outcome({"k": winner}, {"k": [winner]})
    again = await t.second.settle(loser, restore=True)
    assert again is not None
    return Outcome({"k": again}, {"k": [again]})


@cell("drop-drop")
async def _(t: Stage) -> Outcome:
    loser, winner = await conflict(t)
    await t.first.settle(loser, restore=False)
    await t.between()
    if not t.seen:
        await t.second.settle(loser, restore=False)
    return Outcome({"k": winner}, {"k": [winner]})


@cell("restore-put")
async def _(t: Stage) -> Outcome:
    loser, _ = await conflict(t)
    again = await t.first.settle(loser, restore=True)
    assert again is not None
    await t.between()
    late = await t.second.put("k", bucket=t.bucket)
    # The PUT had seen the conflict listed; it is settled all the same by the restore.
    return Outcome({"k": late}, {"k": [late]}, [] if t.seen else [again])


@cell("put-restore")
async def _(t: Stage) -> Outcome:
    loser, _ = await conflict(t)
    early = await t.first.put("k", bucket=t.bucket)
    await t.between()
    again = await t.second.settle(loser, restore=True)
    assert again is not None
    return Outcome({"k": again}, {"k": [again]}, [] if t.seen else [early])


@cell("put-drop")
async def _(t: Stage) -> Outcome:
    loser, _ = await conflict(t)
    early = await t.first.put("k", bucket=t.bucket)
    await t.between()
    await t.second.settle(loser, restore=False)
    return Outcome({"k": early}, {"k": [early]})
