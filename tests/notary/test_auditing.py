"""The audit of a whole log, as it is served, and as it might be changed."""

import tracemalloc
from collections.abc import Callable

import pytest

from notary import tree
from notary.auditing import audit, tile_path
from notary.errors import CertificateRefused
from notary.note import Checkpoint, cosign, log_key, sign, witness_key
from tokens.identity import Identity

OWN = Identity(b"o" * 32, b"O" * 32)
OTHER = Identity(b"p" * 32, b"P" * 32)
KEYS = [log_key(OWN.public.signing_key), witness_key(OTHER.public.signing_key)]


class Served:
    """A log of so many entries, as paths."""

    def __init__(self, size: int, identity: Identity = OWN) -> None:
        self.entries = [b'{"entry":%d}' % number for number in range(size)]
        self.identity = identity
        self.checkpoint: Checkpoint | None = None
        self.changed: dict[str, bytes | None] = {}
        self.asked: list[str] = []

    def sign(self) -> Checkpoint:
        held: tree.Tiles = {}

        def read(level: int, number: int) -> bytes:
            return held.get((level, number), b"")

        held.update(tree.grown(read, 0, [tree.leaf_hash(one) for one in self.entries]))
        size = len(self.entries)
        return sign(self.identity, size, tree.root(read, size))

    def __call__(self, path: str, limit: int) -> bytes | None:
        self.asked.append(path)
        if path in self.changed:
            return self.changed[path]
        if path == "checkpoint":
            return str(self.checkpoint or self.sign()).encode()
        number, _, width = path.removeprefix("tile/entries/").partition(".p/")
        first = int(number.replace("x", "").replace("/", "")) * 256
        some = self.entries[first : first + int(width or 256)]
        return b"".join(len(one).to_bytes(2, "big") + one for one in some)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 600])
def test_a_whole_log(size: int) -> None:
    log, told = Served(size), []
    found = audit(log, KEYS, None, lambda done, of: told.append((done, of)))
    assert found.checkpoint == log.sign()
    assert found.witnesses == []
    assert told[-1] == (size, size)
    bundles = [path for path in log.asked if path.startswith("tile")]
    assert len(bundles) == -(-size // 256)
    assert (f".p/{size % 256}" in bundles[-1]) == bool(size % 256)


def test_it_continues_an_earlier_checkpoint() -> None:
    before = Served(300).sign()
    log = Served(600)
    signed = log.sign()
    log.checkpoint = signed.with_signatures([cosign(OTHER, signed, 1_800_000_000)])
    found = audit(log, KEYS, before)
    assert found.checkpoint.size == 600
    assert found.witnesses == [KEYS[1].name]
    assert audit(log, KEYS, found.checkpoint).checkpoint == found.checkpoint


def _changed_entry(log: Served) -> None:
    log.checkpoint = log.sign()
    log.entries[77] = b"{}"


def _one_less(log: Served) -> None:
    log.checkpoint = log.sign()
    del log.entries[-1]


def _one_swapped(log: Served) -> None:
    log.checkpoint = log.sign()
    log.entries[3], log.entries[4] = log.entries[4], log.entries[3]


def _rewritten(log: Served) -> None:
    log.entries[77] = b"{}"


def _forgotten(log: Served) -> None:
    del log.entries[200:]


def _no_bundle(log: Served) -> None:
    log.changed["tile/entries/000"] = None


def _cut_bundle(log: Served) -> None:
    whole = log("tile/entries/000", 1 << 20)
    assert whole is not None
    log.changed["tile/entries/000"] = whole[:-1]


def _other_key(log: Served) -> None:
    log.identity = OTHER


def _false_signature(log: Served) -> None:
    signed = log.sign()
    log.changed["checkpoint"] = str(signed._replace(size=signed.size - 1)).encode()


def _false_cosignature(log: Served) -> None:
    signed = log.sign()
    line = cosign(OTHER, Served(5).sign(), 1_800_000_000)
    log.checkpoint = signed.with_signatures([line])


def _nothing(log: Served) -> None:
    log.changed["checkpoint"] = None


def _rubbish(log: Served) -> None:
    log.changed["checkpoint"] = b"\xff\n\n"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_changed_entry, "changed"),
        (_one_swapped, "changed"),
        (_one_less, "truncated"),
        (_no_bundle, "truncated"),
        (_cut_bundle, "truncated"),
        (_rewritten, "forked"),
        (_forgotten, "old"),
        (_other_key, "unknown-dc"),
        (_false_signature, "signature"),
        (_false_cosignature, "signature"),
        (_rubbish, "signature"),
        (_nothing, "no-log"),
    ],
)
def test_what_is_refused(change: Callable[[Served], None], reason: str) -> None:
    log, before = Served(400), Served(300).sign()
    audit(log, KEYS, before)
    change(log)
    with pytest.raises(CertificateRefused) as refused:
        audit(log, KEYS, before)
    assert refused.value.reason == reason


def test_an_earlier_checkpoint_of_another_log() -> None:
    with pytest.raises(CertificateRefused) as refused:
        audit(Served(400), KEYS, Served(300, OTHER).sign())
    assert refused.value.reason == "origin"


def test_numbers_of_tiles_in_paths() -> None:
    assert [tile_path(one) for one in (0, 7, 1000, 1234067)] == [
        "000",
        "007",
        "x001/000",
        "x001/x234/067",
    ]


def test_only_entries_are_asked_for() -> None:
    """Nothing of the tiles of hashes is asked for: they are made of the entries."""
    log = Served(600)
    audit(log, KEYS)
    assert not [path for path in log.asked if path.startswith("tile/") and "entries" not in path]


def test_a_long_log_takes_no_more_memory() -> None:
    size, bundle = 40 * 256, (b"\0\x01x" * 256)
    note = str(sign(OWN, size, bytes(32))).encode()

    def fetch(path: str, _limit: int) -> bytes:
        return note if path == "checkpoint" else bundle

    tracemalloc.start()
    try:
        with pytest.raises(CertificateRefused, match="not those"):
            audit(fetch, KEYS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The hashes of all would be 330 kB.
    assert peak < 150_000, peak
