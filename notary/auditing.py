"""The audit of a whole log by whoever can read it: all entries are fetched and hashed, and give the
root that its checkpoint says, and that an earlier checkpoint said.

Source: C2SP tlog-tiles. Only checkpoint and entry bundles are fetched: the hashes are made of the
entries, so what is served of those needs no trust. Nothing is kept of what was hashed: a log of any
length takes the memory of one bundle.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from notary import tree
from notary.entries import ENTRY_BYTES_MAX
from notary.errors import CertificateRefused, NoteInvalid
from notary.note import (
    LOG,
    NOTE_BYTES_MAX,
    WITNESS,
    Checkpoint,
    Key,
    is_signed,
    read_checkpoint,
)

Fetch = Callable[[str, int], bytes | None]
"""What is at a path below the log, of so many bytes at most; None when there is nothing."""
BUNDLE_BYTES_MAX = tree.TILE_HASHES * (2 + ENTRY_BYTES_MAX)


class Audited(NamedTuple):
    """A log that was found to be whole."""

    checkpoint: Checkpoint
    witnesses: list[str]
    """The names of those, of whom a key was given, that have cosigned."""


def audit(
    fetch: Fetch,
    keys: Sequence[Key],
    before: Checkpoint | None = None,
    said: Callable[[int, int], None] = lambda done, of: None,
) -> Audited:
    """Check a log. `before`: a checkpoint that it has to continue. `said` is told of entries.
    CertificateRefused, with a reason for each."""
    data = fetch("checkpoint", NOTE_BYTES_MAX)
    if data is None:
        raise CertificateRefused("no-log", "there is no log, or nothing in it was published yet")
    checkpoint = _checked(data, keys)
    if before is not None:
        _check_order(checkpoint, before)
    hashed = _Hashed()
    earlier = hashed.root
    for leaves in _leaves(fetch, checkpoint.size):
        for leaf in leaves:
            hashed.add(leaf)
            if before is not None and hashed.size == before.size:
                earlier = hashed.root
        said(hashed.size, checkpoint.size)
    if hashed.root != checkpoint.root:
        raise CertificateRefused(
            "changed", "the entries are not those that the checkpoint was signed for"
        )
    if before is not None and earlier != before.root:
        raise CertificateRefused(
            "forked",
            f"the first {before.size} entries are not those of the earlier checkpoint: the log was"
            " rewritten",
        )
    witnesses = [key.name for key in keys if key.kind == WITNESS and is_signed(checkpoint, key)]
    return Audited(checkpoint, witnesses)


class _Hashed:
    """The root of leaves that come one after the other, however many: of the whole subtrees that
    they make, one for each bit of their number, the hashes are kept (RFC 6962, 2.1)."""

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[bytes] = []
        """The largest is the first."""

    def add(self, leaf: bytes) -> None:
        self.size += 1
        count = self.size
        while count % 2 == 0:
            leaf = tree.node_hash(self._subtrees.pop(), leaf)
            count //= 2
        self._subtrees.append(leaf)

    @property
    def root(self) -> bytes:
        if not self._subtrees:
            return tree.EMPTY_ROOT
        found = self._subtrees[-1]
        for left in self._subtrees[-2::-1]:
            found = tree.node_hash(left, found)
        return found


def _checked(data: bytes, keys: Sequence[Key]) -> Checkpoint:
    try:
        checkpoint = read_checkpoint(data.decode())
        logs = [key for key in keys if key.kind == LOG and key.name == checkpoint.origin]
        if not logs:
            raise CertificateRefused("unknown-dc", f"no key of {checkpoint.origin[:100]} was given")
        by_log = any(is_signed(checkpoint, key) for key in logs)
        for key in keys:
            is_signed(checkpoint, key)
    except (NoteInvalid, UnicodeDecodeError) as error:
        raise CertificateRefused("signature", f"the checkpoint was changed: {error}") from None
    if not by_log:
        raise CertificateRefused("signature", "the checkpoint is not signed by the log")
    return checkpoint


def _check_order(checkpoint: Checkpoint, before: Checkpoint) -> None:
    if checkpoint.origin != before.origin:
        raise CertificateRefused(
            "origin", f"the earlier checkpoint is of another log: {before.origin[:100]}"
        )
    if checkpoint.size < before.size:
        raise CertificateRefused(
            "old",
            f"the log shows {checkpoint.size} entries, and had {before.size}: an old checkpoint is"
            " shown again, or the log has forgotten entries",
        )


def _leaves(fetch: Fetch, size: int) -> Iterator[list[bytes]]:
    """The hashes of all entries, bundle by bundle."""
    for first in range(0, size, tree.TILE_HASHES):
        width = min(tree.TILE_HASHES, size - first)
        path = f"tile/entries/{tile_path(first // tree.TILE_HASHES)}"
        if width < tree.TILE_HASHES:
            path += f".p/{width}"
        bundle = fetch(path, BUNDLE_BYTES_MAX)
        entries = [] if bundle is None else _entries(bundle)
        if len(entries) != width:
            raise CertificateRefused(
                "truncated",
                f"the log has {size} entries by its checkpoint, and gives {len(entries)} of"
                f" {width} from {first} on",
            )
        yield [tree.leaf_hash(one) for one in entries]


def _entries(bundle: bytes) -> list[bytes]:
    found, at = [], 0
    while at + 2 <= len(bundle):
        end = at + 2 + int.from_bytes(bundle[at : at + 2], "big")
        found.append(bundle[at + 2 : end])
        at = end
    return found if at == len(bundle) else []


def tile_path(number: int) -> str:
    """The number of a tile as it stands in paths: x001/x234/067."""
    parts = [f"{number % 1000:03}"]
    while number := number // 1000:
        parts.append(f"x{number % 1000:03}")
    return "/".join(reversed(parts))
