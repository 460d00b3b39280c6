"""The second reader, continued: a whole log over its paths (C2SP tlog-tiles)."""

from collections.abc import Iterable
from typing import NamedTuple

from notary_checker import (
    BundleDamaged,
    EntryMismatch,
    Fetch,
    Fork,
    LevelMismatch,
    Missing,
    OtherLog,
    PartialMismatch,
    Rollback,
    RootMismatch,
    TileDamaged,
    Truncated,
    leaf,
    mth,
    verify_checkpoint,
)

WIDTH = 256


class WholeLog(NamedTuple):
    origin: str
    size: int
    root: bytes
    witnesses: list[str]
    entries: list[bytes]


def tile_path(level: int | str, number: int, width: int = WIDTH) -> str:
    """`level` may be "entries"."""
    digits = str(number)
    while len(digits) % 3:
        digits = "0" + digits
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    encoded = "/".join([*(f"x{one}" for one in groups[:-1]), groups[-1]])
    return f"tile/{level}/{encoded}" + (f".p/{width}" if width < WIDTH else "")


def tiles(size: int, level: int) -> list[tuple[int, int]]:
    """(number, width) of the tiles of a level of a tree of that size."""
    count = size // WIDTH**level
    whole = [(number, WIDTH) for number in range(count // WIDTH)]
    return [*whole, (count // WIDTH, count % WIDTH)] if count % WIDTH else whole


def split_tile(data: bytes, width: int, what: str) -> list[bytes]:
    if len(data) != 32 * width:
        raise TileDamaged(f"{what}: {len(data)} bytes")
    return [data[at : at + 32] for at in range(0, len(data), 32)]


def split_bundle(data: bytes, width: int, what: str) -> list[bytes]:
    entries, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        entries.append(data[at + 2 : at + 2 + length])
        if at + 2 > len(data) or len(entries[-1]) < length:
            raise BundleDamaged(f"{what}: it ends within an entry")
        at += 2 + length
    if len(entries) < width:
        raise Truncated(f"{what}: {len(entries)} of {width} entries")
    if len(entries) > width:
        raise BundleDamaged(f"{what}: {len(entries)} instead of {width} entries")
    return entries


def fetched(fetch: Fetch, level: int | str, number: int, width: int) -> list[bytes]:
    """A tile or bundle. A partial one may be gone when the full one is there; when both are, they
    have to agree."""
    split = split_bundle if level == "entries" else split_tile
    absent = Truncated if level == "entries" else Missing
    name = tile_path(level, number)
    data = fetch(name)
    full = None if data is None else split(data, WIDTH, name)
    if width == WIDTH:
        if full is None:
            raise absent(name)
        return full
    name = tile_path(level, number, width)
    data = fetch(name)
    partial = None if data is None else split(data, width, name)
    if partial is None and full is None:
        raise absent(name)
    if partial is not None and full is not None and full[:width] != partial:
        raise PartialMismatch(name)
    return partial if full is None else full[:width]


def checked_leaves(fetch: Fetch, size: int, root: bytes) -> list[bytes]:
    """The hashes of all leaves; each tile hashes to the one above, the last ones to the root."""
    below: list[bytes] = []
    leaves: list[bytes] = []
    level = 0
    while size // WIDTH**level:
        hashes = []
        for number, width in tiles(size, level):
            hashes += fetched(fetch, level, number, width)
        for i, hashed in enumerate(hashes):
            if level and mth(below[i * WIDTH : (i + 1) * WIDTH]) != hashed:
                raise LevelMismatch(f"hash {i} of level {level}")
        leaves = leaves or hashes
        below = hashes
        level += 1
    if mth(leaves) != root:
        raise RootMismatch("the tiles give another root")
    return leaves


def verify_log(
    fetch: Fetch, vkeys: Iterable[str], witnesses: int = 0, earlier: Iterable[int] = ()
) -> WholeLog:
    """The whole of a log. `earlier`: sizes of earlier checkpoints, whose partial tiles are looked
    at when they are served."""
    note = fetch("checkpoint")
    if note is None:
        raise Missing("checkpoint")
    head = verify_checkpoint(note, vkeys, witnesses)
    entries: list[bytes] = []
    for number, width in tiles(head.size, 0):
        entries += fetched(fetch, "entries", number, width)
    leaves = checked_leaves(fetch, head.size, head.root)
    for index, entry in enumerate(entries):
        if leaf(entry) != leaves[index]:
            raise EntryMismatch(f"entry {index}")
    for size in earlier:
        check_partials(fetch, size, entries, leaves)
    return WholeLog(head.origin, head.size, head.root, head.witnesses, entries)


def check_partials(fetch: Fetch, size: int, entries: list[bytes], leaves: list[bytes]) -> None:
    """What is still served of the partial tiles of a smaller tree."""
    held, level = leaves, 0
    while size // WIDTH**level:
        number, width = size // WIDTH ** (level + 1), size // WIDTH**level % WIDTH
        first = number * WIDTH
        data = fetch(tile_path(level, number, width)) if width else None
        if data is not None and data != b"".join(held[first : first + width]):
            raise PartialMismatch(tile_path(level, number, width))
        data = fetch(tile_path("entries", number, width)) if width and not level else None
        if data is not None:
            name = tile_path("entries", number, width)
            if split_bundle(data, width, name) != entries[first : first + width]:
                raise PartialMismatch(name)
        held = [mth(held[at : at + WIDTH]) for at in range(0, len(held) // WIDTH * WIDTH, WIDTH)]
        level += 1


def verify_continues(fetch: Fetch, older: bytes, newer: bytes, vkeys: Iterable[str]) -> None:
    """That of two checkpoints of a log, whose tiles are of the newer one, it continues the older.
    Fork, Rollback, OtherLog."""
    vkeys = list(vkeys)
    old, new = verify_checkpoint(older, vkeys), verify_checkpoint(newer, vkeys)
    if old.origin != new.origin:
        raise OtherLog(f"{old.origin} and {new.origin}")
    if new.size < old.size:
        raise Rollback(f"{old.size} entries, then {new.size}")
    if new.size == old.size and new.root != old.root:
        raise Fork(f"two trees of {new.size} entries")
    leaves = checked_leaves(fetch, new.size, new.root)
    if mth(leaves[: old.size]) != old.root:
        raise Fork(f"the first {old.size} of {new.size} entries are others")
