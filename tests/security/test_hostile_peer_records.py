"""What a paired but malicious DC puts into records: refused before it costs, or is shown, anything.

Published as Swift 2.38.0 (types from another server); for what is echoed, Ceph GHSA-cggp-94xr-prm6.
"""

import struct
import tracemalloc

import msgspec
import pytest

from replicator import wire
from replicator.errors import WireError

STAMP, USER, BUCKET = "0" * 31 + "1", "a" * 64, "b" * 16


def bucket(**changes: str) -> wire.BucketRecord:
    usual = {"id": BUCKET, "name": "photos", "owner": USER, "region": "eu"}
    return wire.BucketRecord(
        seq=1, created=STAMP, deleted="", revived="", registers={}, **(usual | changes)
    )


def user(email: str) -> wire.UserRecord:
    return wire.UserRecord(seq=1, id=USER, email=email, stamp=STAMP, deleted=False)


@pytest.mark.parametrize(
    "record",
    [
        *(
            bucket(name=name)
            for name in ("", "<Name>", "a&b", "a/b", "a b", "ü", "a\x1b[2J", "a\n")
        ),
        *(bucket(id=text) for text in ("", "../../x", "B" * 16, "b" * 17, BUCKET + "\n")),
        *(bucket(owner=text) for text in ("", "a" * 63, "A" * 64)),
        bucket(region="eu\x1b]0;x\x07"),
        *(user(email) for email in ("", "a@b\r\n", "\x1b[2J@b", "a\u202e@b", "a@b\0")),
    ],
    ids=repr,
)
def test_texts_that_would_be_shown(record: wire.Record) -> None:
    with pytest.raises(WireError):
        wire.decode_record(wire.encode_record(record))


def test_good_ones_are_taken() -> None:
    for record in (bucket(), bucket(name="a.b-c"), user("ann@example.com"), user("ü@example.com")):
        assert wire.decode_record(wire.encode_record(record)) == record


@pytest.mark.parametrize("field", ["headers", "user", "checksums"])
def test_a_million_headers_are_not_even_decoded(field: str) -> None:
    pairs = b"".join(b"\xa4" + struct.pack(">I", number & 0x7F7F7F7F) for number in range(400_000))
    many = b"\xdf" + struct.pack(">I", 200_000) + pairs
    head = ["v", 1, BUCKET, "k", "", STAMP, 0, 0, ""]
    encoded = b"".join(msgspec.msgpack.encode(part) for part in head)
    meta = b"\x81" + msgspec.msgpack.encode(field) + many
    data = b"\x9d" + encoded + meta + b"\xa0\x80\xc0"
    tracemalloc.start()
    try:
        with pytest.raises(WireError, match="length <="):
            wire.decode_record(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
