"""The bytes of a slot: what one disk has of a container that is kept on several.

A container is a stream of bytes (`dc/objects/format.py`). With redundancy the stream is cut into
*stripes* as it grows, a stripe is coded into k + m fragments, and each goes into a slot of its own,
a file on another disk:

    container header (with k, m and the number of the slot) | head, fragment | head, fragment | ...

Fragments of a stripe have one length and stand at one offset in all slots. A head says which bytes
of the stream the stripe holds and has the CRC32C of its fragment. The CRCs are seeded with
container, slot and offset: a fragment in the wrong place is as wrong as a flipped bit.

All numbers are little-endian. `docs/containers.md` has the layout byte by byte.
"""

import struct
from typing import NamedTuple

from awscrt.checksums import crc32c

from dc.ports import Buffer

HEAD_BYTES = 32
STRIPE_BYTES_MAX = 1 << 20
"""Of the stream: what is read and decoded to serve one byte whose fragment is lost."""
_HEAD = struct.Struct("<4sBBHIIIQ")
MAGIC = b"FSHS"
"""What a head begins with."""
_KIND = 1
_CRC = struct.Struct("<I")
_MASK = 0xFFFFFFFF


class Stripe(NamedTuple):
    """Where a stripe is. `start` is its place in the stream, `length` how many bytes of the stream
    it holds; `offset` is where its heads stand in the slots, `fragment` the size of each fragment.
    """

    start: int
    length: int
    offset: int
    fragment: int

    @property
    def end(self) -> int:
        """Where the next stripe stands in the slots."""
        return self.offset + HEAD_BYTES + self.fragment


class Head(NamedTuple):
    """A head as it was read: its stripe, and the CRC that the fragment must have."""

    stripe: Stripe
    crc: int


def slot_name(container: int, slot: int) -> str:
    return f"{container:016x}-{slot:02d}.fss"


def slot_of(name: str) -> tuple[int, int] | None:
    """Container and slot in a file's name; None when it is not a slot's."""
    stem, dot, suffix = name.partition(".")
    container, dash, slot = stem.partition("-")
    good = dot and dash and suffix == "fss" and len(container) == 16 and len(slot) == 2
    if good and slot.isdigit() and not container.strip("0123456789abcdef"):
        return int(container, 16), int(slot)
    return None


def slot_seed(container: int, slot: int) -> int:
    seed: int = crc32c(container.to_bytes(8, "little") + bytes((slot,)))
    return seed


def encode_head(
    stripe: Stripe, slot: int, seed: int, fragment: bytes, wrong: bool = False
) -> bytes:
    """The head of a fragment; `seed` is `slot_seed`. With `wrong` it says that it has another one:
    what keeps the place of a fragment that is lost."""
    crc = fragment_crc(fragment, seed, stripe.offset) ^ (_MASK if wrong else 0)
    fixed = _HEAD.pack(
        MAGIC, _KIND, slot, 0, stripe.length, stripe.fragment, crc, stripe.start
    )  # fmt: skip
    return fixed + _CRC.pack(crc32c(fixed, (seed ^ stripe.offset) & _MASK))


def decode_head(raw: Buffer, slot: int, seed: int, offset: int) -> Head | None:
    """The head at `offset` of a slot; None when there is no whole one."""
    if len(raw) < HEAD_BYTES:
        return None
    magic, kind, number, _, length, fragment, crc, start = _HEAD.unpack_from(raw)
    if magic != MAGIC or kind != _KIND or number != slot:
        return None
    fixed = bytes(raw[: HEAD_BYTES - 4])
    if _CRC.unpack_from(raw, HEAD_BYTES - 4)[0] != crc32c(fixed, (seed ^ offset) & _MASK):
        return None
    return Head(Stripe(start, length, offset, fragment), crc)


def fragment_crc(fragment: Buffer, seed: int, offset: int) -> int:
    """Of the fragment whose head stands at `offset`."""
    crc: int = crc32c(fragment, (seed ^ (offset + HEAD_BYTES)) & _MASK)
    return crc
