"""OpenTimestamps: files of them, and what calendars answer.

A timestamp is a detached .ots file. What is stamped is the root of a checkpoint's tree: its 32
bytes stand in the file as the SHA-256 that the file is of (`ots verify -d ROOT_HEX FILE.ots`). They
are what is sent to calendars, as they are: a root is public.

Nothing of this can show when a Bitcoin block was made: a timestamp says which block, and which
Merkle root that has if it is true. Who has that block's header compares.

Source: the library; the protocol of calendars as its `opentimestamps.calendar` speaks it.
"""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from opentimestamps.core.notary import BitcoinBlockHeaderAttestation, PendingAttestation
from opentimestamps.core.op import OpSHA256
from opentimestamps.core.serialize import (
    BytesDeserializationContext,
    BytesSerializationContext,
    DeserializationError,
)
from opentimestamps.core.timestamp import DetachedTimestampFile, Timestamp

ANSWER_BYTES_MAX = 10_000
"""Of a calendar; the reference client takes no more either."""
FILE_BYTES_MAX = 64 << 10
ROOT_BYTES = 32
HEIGHT_MAX = (1 << 31) - 1
"""Until the year 40,000 or so."""


class Pending(NamedTuple):
    """A calendar's promise: it has taken in a commitment."""

    uri: str
    commitment: bytes


class Block(NamedTuple):
    """A Bitcoin block, which has that Merkle root if the timestamp is true."""

    height: int
    merkle_root: str
    """As it is shown to people: the bytes in reverse, in hex."""


def read(data: bytes, root: bytes | None) -> Any:
    """The tree of a file, which is to be of that root (None: of any). ValueError."""
    if len(data) > FILE_BYTES_MAX:
        raise ValueError("it is too long for a timestamp")
    try:
        found = DetachedTimestampFile.deserialize(BytesDeserializationContext(data))
    except (DeserializationError, ValueError, TypeError, AssertionError, OverflowError) as error:
        raise ValueError(f"it is no OpenTimestamps file: {_kind(error)}") from None
    if not isinstance(found.file_hash_op, OpSHA256) or root not in (None, found.file_digest):
        raise ValueError("it is of something else")
    _check_blocks(found.timestamp)
    return found.timestamp


def write(stamp: Any) -> bytes:
    """The file of a tree. ValueError when it has grown too large, or cannot be read again."""
    context = BytesSerializationContext()
    DetachedTimestampFile(OpSHA256(), stamp).serialize(context)
    data = bytes(context.getbytes())
    read(data, stamp.msg)
    return data


def answered(data: bytes, commitment: bytes) -> Any:
    """The tree in a calendar's answer, which continues a commitment. ValueError."""
    context = BytesDeserializationContext(data)
    try:
        stamp = Timestamp.deserialize(context, commitment)
        context.assert_eof()
    except (DeserializationError, ValueError, TypeError, AssertionError, OverflowError) as error:
        raise ValueError(f"it is no timestamp ({_kind(error)})") from None
    _check_blocks(stamp)
    return stamp


def together(root: bytes, stamps: Collection[Any]) -> Any:
    """One tree of all of them, which are of that root."""
    found = Timestamp(root)
    for stamp in stamps:
        found.merge(stamp)
    return found


def add(stamp: Any, commitment: bytes, more: Any) -> None:
    """Put what continues a commitment into the tree, wherever that is in it."""
    for each in _nodes(stamp):
        if each.msg == commitment:
            each.merge(more)


def pending(stamp: Any) -> list[Pending]:
    found = (
        Pending(attestation.uri, message)
        for message, attestation in stamp.all_attestations()
        if isinstance(attestation, PendingAttestation)
    )
    return sorted(set(found))


def blocks(stamp: Any) -> list[Block]:
    """The earliest first."""
    found = (
        Block(attestation.height, message[::-1].hex())
        for message, attestation in stamp.all_attestations()
        if isinstance(attestation, BitcoinBlockHeaderAttestation)
    )
    return sorted(set(found))


def _nodes(stamp: Any) -> Iterator[Any]:
    """All of a tree, as it is now."""
    yield from [each for one in list(stamp.ops.values()) for each in _nodes(one)]
    yield stamp


def _check_blocks(stamp: Any) -> None:
    """ValueError for blocks that there cannot be."""
    for message, attestation in stamp.all_attestations():
        if isinstance(attestation, BitcoinBlockHeaderAttestation):
            if len(message) != ROOT_BYTES:
                raise ValueError(f"it gives a Bitcoin block a Merkle root of {len(message)} bytes")
            if attestation.height > HEIGHT_MAX:
                raise ValueError("it names a Bitcoin block that there cannot be")


def _kind(error: BaseException) -> str:
    return type(error).__name__
