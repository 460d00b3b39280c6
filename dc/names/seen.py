"""What a write had seen: a version vector, and when two writes are concurrent.

`seen` is text: the last stamp of each other DC in the history of what the write replaced, one after
the other, ordered by DC; what the write's own DC had written before is implied.
`docs/convergence.md` says why.
"""

from collections.abc import Iterable

from dc.stamps import STAMP_LENGTH, Stamp, is_stamp, stamp_origin

INFERRED = "-"
"""`seen` of a tombstone that nobody made, but that was concluded from what is covered: it has seen
nothing at all, so whatever it beats is kept as a conflict."""
DCS_MAX = 64
"""The most stamps in a `seen`. Of more, the latest count: of the others it is said that they were
not seen, so the worst is a conflict too many."""


def stamps_in(seen: str) -> list[Stamp]:
    """The stamps of a `seen`."""
    if seen == INFERRED:
        return []
    return [seen[at : at + STAMP_LENGTH] for at in range(0, len(seen), STAMP_LENGTH)]


def is_seen(text: str) -> bool:
    """Whether it is well-formed: whole stamps of different DCs, in order."""
    if text in ("", INFERRED):
        return True
    if len(text) % STAMP_LENGTH or len(text) > DCS_MAX * STAMP_LENGTH:
        return False
    stamps = stamps_in(text)
    origins = [stamp_origin(stamp) for stamp in stamps]
    return all(map(is_stamp, stamps)) and origins == sorted(set(origins))


def saw(stamp: Stamp, seen: str, other: Stamp) -> bool:
    """Whether the write `stamp`, which says `seen`, had seen the write `other` of its item."""
    if seen == INFERRED:
        return False
    origin = stamp_origin(other)
    if stamp_origin(stamp) == origin:
        return stamp >= other
    return any(one >= other for one in stamps_in(seen) if stamp_origin(one) == origin)


def history(own: str, writes: Iterable[tuple[Stamp, str]]) -> str:
    """The `seen` of a write that DC `own` makes over these: (stamp, seen) of each."""
    latest: dict[str, Stamp] = {}
    for stamp, seen in writes:
        for one in (stamp, *stamps_in(seen)):
            origin = stamp_origin(one)
            if origin != own and one > latest.get(origin, ""):
                latest[origin] = one
    kept = sorted(latest.values())[-DCS_MAX:]
    return "".join(sorted(kept, key=stamp_origin))
