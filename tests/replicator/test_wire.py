"""The wire schema: what is written is read, old bytes stay readable, the rest is a WireError."""

import hashlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dc.names import model
from replicator import messages, wire
from replicator.errors import WireError

STAMP = "0" * 16 + "a" * 16
USER = "b" * 64
BUCKET = "c" * 16

RECORDS: list[wire.Record] = [
    wire.VersionRecord(
        seq=1,
        bucket=BUCKET,
        key="k/ü",
        vid="f" * 32,
        stamp=STAMP,
        kind=0,
        size=3,
        etag="d" * 32 + "-2",
        meta=wire.Meta(
            content_type="text/plain",
            headers={"Cache-Control": "no-store"},
            user={"a": "b"},
            checksums={"crc32": "AAAA"},
            checksum_type="COMPOSITE",
            crc64=2**64 - 1,
            parts=[wire.Part(1, 3, "d" * 32, "AAAA")],
        ),
        seen="0" * 16 + "1" * 16 + "0" * 16 + "2" * 16,
        registers={"acl": (STAMP, "private")},
        body=b"abc",
    ),
    wire.TombstoneRecord(seq=2, bucket=BUCKET, key="k", vid="", stamp=STAMP, seen="-"),
    wire.BucketRecord(
        seq=3,
        id=BUCKET,
        name="photos",
        owner=USER,
        region="eu",
        created=STAMP,
        deleted="",
        revived="",
        registers={},
    ),
    wire.UserRecord(seq=4, id=USER, email="ann@example.com", stamp=STAMP, deleted=False),
    wire.AccessKeyRecord(seq=5, id="FSAK", user=USER, secret=b"s", stamp=STAMP, deleted=False),
    wire.UnreadableRecord(seq=6, what="access key X", reason="it is damaged"),
    wire.SiteRecord(seq=7, dc_id="a" * 16, name="paris", region="eu", stamp=STAMP),
]
RECORDS.append(wire.ConflictRecord(seq=8, loser=RECORDS[0], winner="1" * 32, gone=False))
FRAMES: list[wire.Frame] = [
    wire.Hello(end=9, dc_id="e" * 16, epoch="a1", after=0, horizon=3),
    wire.Covered(end=9, position=4, intervals=[("a" * 16, "", STAMP)]),
    wire.Batch(end=9, after=0, last=8, records=RECORDS),
    wire.KeepAlive(end=9),
]


def test_round_trip() -> None:
    for record in RECORDS:
        assert wire.decode_record(wire.encode_record(record)) == record
    for frame in FRAMES:
        data = wire.encode_frame(frame)
        assert wire.frame_length(data[:4]) == len(data) - 4
        assert wire.decode_frame(data[4:]) == frame
    encoded = [wire.encode_record(record) for record in RECORDS]
    assert wire.encode_batch(0, 8, 9, encoded) == wire.encode_frame(FRAMES[2])


def test_a_key_with_a_nul_is_refused() -> None:
    record = msgspec.structs.replace(RECORDS[1], key="a\0b")
    with pytest.raises(WireError):
        wire.decode_record(wire.encode_record(record))


def test_version_2_stays_as_it_is() -> None:
    """The bytes of v2: another digest means another protocol, which needs another version."""
    data = b"".join(wire.encode_frame(frame) for frame in FRAMES)
    assert (
        hashlib.sha256(data).hexdigest()
        == "07497f8a1a0d38cc42a0ffbe3204694137bedccac63c5c3f96875a4495bfe4a8"
    )
    asks = "|".join(
        messages.encode_ask(ask)
        for ask in (
            messages.FeedAsk("a1", 7, ["e" * 16], True),
            messages.BodyAsk(BUCKET, "k/ü", "", STAMP, 0, 3),
            messages.EntryAsk("a1", 7),
        )
    )
    assert (
        hashlib.sha256(asks.encode()).hexdigest()
        == "d4c6494a109a34415ed391169c0656b07882e4e9616b54e2ff61f14163a8a91c"
    )


def test_nothing_of_the_model_is_left_at_home() -> None:
    def fields(struct: type[msgspec.Struct]) -> set[str]:
        return set(struct.__struct_fields__)

    assert fields(wire.Meta) == fields(model.Meta)
    assert fields(wire.Part) == fields(model.Part)
    assert fields(wire.VersionRecord) - {"body"} == fields(model.Version) - {"extents"}
    for record, change in (
        (wire.TombstoneRecord, model.Tombstone),
        (wire.BucketRecord, model.Bucket),
        (wire.UserRecord, model.User),
        (wire.AccessKeyRecord, model.AccessKey),
        (wire.ConflictRecord, model.Conflict),
        (wire.SiteRecord, model.Site),
    ):
        # That a tombstone is told again is between a DC and its own feed.
        assert fields(record) - {"seq"} == fields(change) - {"again"}


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_random_bytes_are_a_wire_error(data: bytes) -> None:
    for decode in (
        wire.decode_frame,
        wire.decode_record,
        lambda data: messages.decode_body(data, messages.Ack),
        lambda data: messages.decode_ask(data.decode("latin-1"), messages.BodyAsk),
    ):
        try:
            decode(data)
        except WireError as error:
            assert str(error).isprintable() and len(str(error)) < 400


@given(st.data())
@settings(max_examples=300)
def test_every_damaged_frame_is_read_or_refused(data: st.DataObject) -> None:
    frame = bytearray(wire.encode_frame(data.draw(st.sampled_from(FRAMES)))[4:])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(frame) - 1))
        frame[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(frame)))
    for each in (bytes(frame), bytes(frame[:cut]), bytes(frame) + b"\0"):
        try:
            wire.decode_frame(each)
        except WireError:
            pass


@pytest.mark.parametrize("length", [0, 8 * 1024 * 1024 + 1, 2**32 - 1])
def test_frame_lengths(length: int) -> None:
    with pytest.raises(WireError):
        wire.frame_length(length.to_bytes(4, "big"))
