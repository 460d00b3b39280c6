"""What a peer is not told of again, because it has told of it itself."""

from pathlib import Path

import msgspec
from awscrt.checksums import crc64nvme
from replica_kit import Dc, datacenters, eventually, pair, settled

from dc.names.model import Kind, Meta, Register, Version
from replicator import limits, told, wire
from replicator.records import outgoing
from replicator.told import Told

PEER, OTHER = "a" * 16, "b" * 16


def version(moment: int, origin: str = PEER, *tags: tuple[int, str]) -> Version:
    registers = {f"t{n}": Register(_stamp(*tag), "x") for n, tag in enumerate(tags)}
    kind, meta = Kind.OBJECT, Meta()
    stamp = _stamp(moment, origin)
    return Version("c" * 16, "k", "", stamp, kind, 0, "d" * 32, meta, [], registers=registers)


def _stamp(moment: int, origin: str) -> str:
    return f"{moment:012x}0000{origin}"


def record(change: Version) -> wire.Record:
    return outgoing(1, change, None, None, b"")  # type: ignore[arg-type]


def test_what_it_has_told_in_its_present_epoch() -> None:
    heard = Told(PEER)
    heard.note("one", record(version(1)))
    assert heard.knows("one", version(1))
    assert not heard.knows("one", version(2)), "it may have forgotten that"
    assert not heard.knows("two", version(1)), "nor may it know what it told before it was started"
    heard.note("two", record(version(2)))
    assert heard.knows("two", version(2)) and not heard.knows("two", version(1))


def test_only_what_it_made_and_all_of_it() -> None:
    heard = Told(PEER)
    heard.note("one", record(version(1, OTHER)))
    heard.note("one", record(version(2, PEER, (3, OTHER))))
    assert not heard.knows("one", version(1, OTHER))
    assert not heard.knows("one", version(2, PEER, (3, OTHER)))
    heard.note("one", record(version(4, PEER, (6, PEER))))
    assert heard.knows("one", version(4, PEER, (6, PEER)))
    both = version(4, PEER, (5, PEER), (6, PEER))
    assert not heard.knows("one", both), "another attribute, set before it was put back"


def test_so_much_is_remembered() -> None:
    heard = Told(PEER)
    for moment in range(limits.TOLD_MAX + 1):
        heard.note("one", record(version(moment)))
    assert not heard.knows("one", version(0)) and heard.knows("one", version(1))
    assert len(heard._changes) == told.TOLD_MAX


async def _as_if_made_in(maker: Dc, at: Dc, bucket_id: str, key: str, body: bytes) -> Version:
    """A change of one DC that another one has got in some way, but not from it."""
    bare = msgspec.structs.replace(version(0), bucket=bucket_id, key=key, size=len(body))
    made = msgspec.structs.replace(
        bare, stamp=maker.names.clock.now(), meta=Meta(crc64=crc64nvme(body))
    )
    whole = msgspec.structs.replace(made, extents=await at._store(made, body))
    await at.names.apply([whole])
    return whole


async def test_what_comes_late_by_another_way_is_given_back(tmp_path: Path) -> None:
    """As after an old backup: what paris forgot comes to tokyo when their streams are long open."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        sent = tokyo.peer(paris).changes_out
        await paris.put(bucket, "told", b"of paris")
        await settled(paris, tokyo)
        assert tokyo.peer(paris).changes_out == sent, "what paris has told it is not told"
        await _as_if_made_in(paris, tokyo, bucket.id, "forgotten", b"also of paris")

        async def is_back() -> bool:
            return await paris.get(bucket, "forgotten") == b"also of paris"

        await eventually(is_back)
        await settled(paris, tokyo)
        assert tokyo.peer(paris).changes_out == sent + 1
