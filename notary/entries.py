"""Entries of a log: a line of JSON each (docs/notary.md has its members)."""

from typing import Literal, get_args

import msgspec

from dc.stamps import Stamp
from notary.errors import NotaryError

VERSION = 1
ENTRY_BYTES_MAX = 65_535
"""C2SP's bundles count the bytes of an entry in 16 bits. The longest key, in JSON, has 6,144."""

Type = Literal["version", "removed", "enabled", "disabled"]
TYPES: tuple[Type, ...] = get_args(Type)
WRITTEN = TYPES.index("version")
"""The kind of the entry of a write."""
OBJECT, STORED = "object", "stored"


class Entry(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The JSON. Fields that an entry does not have are left out."""

    v: int
    type: Type
    dc: str
    dc_id: str
    bucket: str
    bucket_id: str
    key: str | None = None
    version_id: str | None = None
    stamp: Stamp
    size: int | None = None
    sha256: str | None = None
    of: str | None = None
    time: str

    @property
    def kind(self) -> int:
        """The place of its type in `TYPES`."""
        return TYPES.index(self.type)


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


def read_entry(data: bytes) -> Entry:
    """NotaryError for what is none, or is not written as one is to be."""
    try:
        entry = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotaryError(f"that is no entry of a log: {error}") from None
    if entry.v != VERSION:
        raise NotaryError(f"the entry has version {entry.v}: a newer farshore made it")
    if encode(entry) != data:
        raise NotaryError("the entry is not written as one is to be")
    return entry
