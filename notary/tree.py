"""The Merkle tree of a log: hashes, proofs, and tiles. No I/O.

A tree is read by a `Reader`, which gives the hashes of a tile: at level 0 those of the leaves, at
each further level those of the full tiles below, 256 to a tile. It may give more hashes than the
tree had that is asked about; the first ones stay what they are.

Source: RFC 6962, section 2.1; RFC 9162, section 2.1.3 (how proofs are verified); C2SP tlog-tiles.
"""

import hashlib
from collections.abc import Callable, Sequence

HASH_BYTES = 32
TILE_HASHES = 256
TILE_BITS = 8
TILE_BYTES = HASH_BYTES * TILE_HASHES
PROOF_HASHES_MAX = 63
"""More than any tree has that can be counted in 63 bits."""

Reader = Callable[[int, int], bytes]
"""Of (level, number): the hashes of a tile that there are, one after the other."""
Tiles = dict[tuple[int, int], bytes]

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def root(read: Reader, size: int) -> bytes:
    """Of the tree of the first `size` leaves."""
    return _hash(read, 0, size) if size else EMPTY_ROOT


def inclusion_proof(read: Reader, index: int, size: int) -> list[bytes]:
    """That the leaf `index` is in the tree of the first `size` leaves, from the leaf up."""
    assert 0 <= index < size
    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_hash(read, middle, high))
            high = middle
        else:
            path.append(_hash(read, low, middle))
            low = middle
    return path[::-1]


def consistency_proof(read: Reader, old: int, new: int) -> list[bytes]:
    """That the tree of the first `old` leaves is the beginning of that of the first `new`. Empty
    when either of them is empty, or both are the same."""
    assert 0 <= old <= new
    if old in (0, new):
        return []
    path: list[bytes] = []
    low, high, is_whole = 0, new, True
    while old < high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_hash(read, middle, high))
            high = middle
        else:
            path.append(_hash(read, low, middle))
            low, is_whole = middle, False
    if not is_whole:
        path.append(_hash(read, low, high))
    return path[::-1]


def grown(read: Reader, size: int, leaves: Sequence[bytes]) -> Tiles:
    """The tiles that change when leaves (their hashes) are put behind the first `size`."""
    changed: Tiles = {}
    new = b"".join(leaves)
    level = 0
    while new:
        number, width = divmod(size, TILE_HASHES)
        held = read(level, number)[: width * HASH_BYTES] if width else b""
        assert len(held) == width * HASH_BYTES
        above: list[bytes] = []
        data = held + new
        for at in range(0, len(data), TILE_BYTES):
            tile = data[at : at + TILE_BYTES]
            changed[level, number + at // TILE_BYTES] = tile
            if len(tile) == TILE_BYTES:
                above.append(_reduced(tile))
        new, size, level = b"".join(above), number, level + 1
    return changed


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root_hash: bytes
) -> bool:
    """Whether the proof shows that the leaf with that hash is at `index` of a tree."""
    if not 0 <= index < size:
        return False
    node, last, found = index, size - 1, leaf
    for one in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            found = node_hash(one, found)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            found = node_hash(found, one)
        node >>= 1
        last >>= 1
    return last == 0 and found == root_hash


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether the proof shows that a tree continues another."""
    if not 0 <= old <= new:
        return False
    if old == 0:
        return not proof and old_root == EMPTY_ROOT and (new > 0 or new_root == EMPTY_ROOT)
    if old == new:
        return not proof and old_root == new_root
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    node, last = old - 1, new - 1
    while node & 1:
        node >>= 1
        last >>= 1
    before = after = path[0]
    for one in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            before, after = node_hash(one, before), node_hash(one, after)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            after = node_hash(after, one)
        node >>= 1
        last >>= 1
    return last == 0 and before == old_root and after == new_root


def _split(count: int) -> int:
    """The largest power of two that is smaller."""
    return 1 << ((count - 1).bit_length() - 1)


def _hash(read: Reader, low: int, high: int) -> bytes:
    """Of the leaves [low, high), which are a subtree."""
    count = high - low
    if count & (count - 1):
        middle = low + _split(count)
        return node_hash(_hash(read, low, middle), _hash(read, middle, high))
    level, height = divmod(count.bit_length() - 1, TILE_BITS)
    number, at = divmod(low >> TILE_BITS * level, TILE_HASHES)
    end = (at + (1 << height)) * HASH_BYTES
    hashes = read(level, number)[at * HASH_BYTES : end]
    assert len(hashes) == HASH_BYTES << height, "a tile is shorter than its tree"
    return _reduced(hashes)


def _reduced(hashes: bytes) -> bytes:
    """The root over hashes; their number is a power of two."""
    step = 2 * HASH_BYTES
    while len(hashes) > HASH_BYTES:
        hashes = b"".join(
            hashlib.sha256(b"\1" + hashes[at : at + step]).digest()
            for at in range(0, len(hashes), step)
        )
    return hashes
