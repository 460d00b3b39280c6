"""The heads of a container's stripes, as they are read to find out where the stripes are."""

from collections.abc import Sequence
from typing import NamedTuple

from dc.objects.redundancy import Coder
from dc.objects.stripes import HEAD_BYTES, MAGIC, STRIPE_BYTES_MAX, Stripe, decode_head
from dc.ports import File

_WINDOW_BYTES = 64 << 10
"""Of heads, read at a time where they are closer than this:"""
_CLOSE_BYTES = 8 << 10


class Heads:
    """The heads of a slot, read many at a time where they stand close together."""

    def __init__(self, file: File, slot: int, seed: int) -> None:
        self.slot = slot
        self.failed = False
        """Whether the last read was an error."""
        self._file = file
        self._seed = seed
        self._window = b""
        self._window_at = 0
        self._last = 0

    def at(self, offset: int) -> Stripe | None:
        start = offset - self._window_at
        if start < 0 or start + HEAD_BYTES > len(self._window):
            close = offset - self._last < _CLOSE_BYTES
            try:
                self._window = self._file.read(_WINDOW_BYTES if close else HEAD_BYTES, offset)
                self.failed = False
            except OSError:
                self._window, self.failed = b"", True
            self._window_at, start = offset, 0
        self._last = offset
        raw = self._window[start : start + HEAD_BYTES]
        head = decode_head(raw, self.slot, self._seed, offset)
        return None if head is None else head.stripe

    def after(self, offset: int, most: int) -> Stripe | None:
        """The stripe of the first head that is whole in the next `most` bytes; asked for where `at`
        has found none."""
        if self._window_at == offset and len(self._window) < HEAD_BYTES:
            return None  # It is the end of the file.
        try:
            raw = self._file.read(most, offset)
        except OSError:
            return None
        at = raw.find(MAGIC)
        while at >= 0:
            head = decode_head(raw[at : at + HEAD_BYTES], self.slot, self._seed, offset + at)
            if head is not None:
                return head.stripe
            at = raw.find(MAGIC, at + 1)
        return None


class Seen(NamedTuple):
    """What heads at one place say: the stripe that most slots have there, and how many have it.
    `unsure`: it is not to be told whether as many have one as it takes to decode it."""

    stripe: Stripe | None
    slots: int
    unsure: bool


def look(heads: Sequence[Heads], offset: int, start: int, least: int, k: int) -> Seen:
    """Which stripe stands at `offset` of the slots, with the bytes from `start` of the stream. No
    more heads are read when `least` slots have it."""
    votes: dict[Stripe, set[int]] = {}
    failed, without = set[int](), False
    for one in heads:
        stripe = one.at(offset)
        if one.failed:
            failed.add(one.slot)
        elif stripe is None or stripe.start != start:
            without = True
        else:
            votes.setdefault(stripe, set()).add(one.slot)
            if len(votes[stripe]) == least:
                return Seen(stripe, least, False)
    found = max(votes, key=lambda stripe: len(votes[stripe]), default=None)
    most = 0 if found is None else len(votes[found])
    return Seen(found, most, not without or (most > 0 and most + len(failed) >= k))


def hidden(heads: Sequence[Heads], offset: int, start: int, coder: Coder) -> Stripe | None:
    """The stripe that stands at `offset`, with the bytes from `start` of the stream, where no slot
    has its head any more: known by the next one. None when that is not to be told: what is in
    between must have the size of one stripe."""
    most = HEAD_BYTES + coder.fragment_bytes(STRIPE_BYTES_MAX) + HEAD_BYTES
    found = [after for one in heads if (after := one.after(offset, most)) is not None]
    if not found:
        return None
    behind = min(found, key=lambda stripe: stripe.offset)
    length, fragment = behind.start - start, behind.offset - offset - HEAD_BYTES
    fits = 0 < length <= STRIPE_BYTES_MAX and fragment == coder.fragment_bytes(length)
    return Stripe(start, length, offset, fragment) if fits else None
