"""The second reader is one of its own; and whole logs, which it reads and refuses."""

import ast
from pathlib import Path

import notary_checker as checker
import pytest
from notary_log_checker import tile_path, tiles, verify_continues, verify_log
from notary_samples import (
    ALPHA,
    BETA,
    GAMMA,
    begun,
    entry,
    opened,
    sealed,
    served,
    vkeys_of,
)

from notary import note, tables, tree

HERE = Path(__file__).parent
STANDARD = {"base64", "binascii", "collections.abc", "hashlib", "json", "typing"}
SIZES = (3, 255, 256, 257, 300, 600)


@pytest.mark.parametrize("name", ["notary_checker.py", "notary_log_checker.py"])
def test_it_shares_no_code_with_the_product(name):
    imported = set()
    for node in ast.walk(ast.parse((HERE / name).read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level and node.module
            imported.add(node.module)
        elif isinstance(node, ast.Name):
            assert node.id not in ("__import__", "importlib", "exec", "eval")
    foreign = {one for one in imported if not one.startswith("cryptography.")} - STANDARD
    assert foreign == ({"notary_checker"} if name == "notary_log_checker.py" else set())


def test_its_paths_are_those_of_the_text():
    """The examples of C2SP tlog-tiles."""
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_path("entries", 0, 5) == "tile/entries/000.p/5"
    assert tile_path(3, 999) == "tile/3/999" and tile_path(3, 1000) == "tile/3/x001/000"
    assert [(len(tiles(70_000, level)), tiles(70_000, level)[-1][1]) for level in range(3)] == [
        (274, 112),
        (2, 17),
        (1, 1),
    ]
    assert tiles(256, 0) == [(0, 256)] and tiles(256, 1) == [(0, 1)] and tiles(256, 2) == []


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("checker") / "log.db") as db:
        log = begun(db, count=SIZES[-1])
        for size in SIZES:
            log = sealed(db, ALPHA, log, size, BETA)
        yield db, log


@pytest.fixture
def paths(store):
    return served(*store, *SIZES)


VKEYS = vkeys_of(ALPHA, BETA)


def test_a_whole_log(store, paths):
    found = verify_log(paths.get, VKEYS, 1, SIZES)
    assert found.entries == [entry(ALPHA, number) for number in range(600)]
    assert (found.origin, found.size) == (f"farshore/{ALPHA.dc_id}", 600)
    for size in SIZES:
        small = served(*store, size)
        assert verify_log(small.get, VKEYS).entries == found.entries[:size]


def test_the_empty_log(tmp_path):
    with opened(tmp_path / "log.db") as db:
        log = sealed(db, ALPHA, begun(db), 0)
        assert served(db, log, 0).keys() == {"checkpoint"}
        assert verify_log(served(db, log, 0).get, VKEYS).entries == []


def test_partial_tiles_may_be_gone_when_full_ones_are_there(store, paths):
    small = {name: data for name, data in paths.items() if ".p/" not in name or "p/88" in name}
    small["tile/1/000.p/2"] = paths["tile/1/000.p/2"]
    assert verify_log(small.get, VKEYS, 1, SIZES).size == 600
    small["checkpoint"] = served(*store, 300)["checkpoint"]
    del small["tile/1/000.p/2"]
    small["tile/1/000.p/1"] = paths["tile/1/000.p/1"]
    assert verify_log(small.get, VKEYS).size == 300, "of the second tile only the full one is there"


def dropped(name):
    return lambda paths: paths.pop(name)


def put(name, change):
    return lambda paths: paths.__setitem__(name, change(paths[name]))


def flipped(at):
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def signed_again(paths):
    """A log that puts its name under a root that its entries do not have."""
    paths["checkpoint"] = str(note.sign(ALPHA, 600, b"r" * 32)).encode()


def other_entry(paths):
    """The entry and its hash are changed, and nothing above."""
    name, data = "tile/entries/000", entry(ALPHA, 0, bucket="photot")
    rest = paths[name][2 + len(data) :]
    paths[name] = len(data).to_bytes(2, "big") + data + rest
    paths["tile/0/000"] = checker.leaf(data) + paths["tile/0/000"][32:]


def longer(paths):
    paths["checkpoint"] = str(note.sign(ALPHA, 601, b"r" * 32)).encode()


def other_last(paths):
    """As `other_entry`, where no tile is above."""
    name, width = "tile/entries/002.p/88", len(entry(ALPHA, 599))
    data = entry(ALPHA, 599, bucket="photot")
    paths[name] = paths[name][:-width] + data
    paths["tile/0/002.p/88"] = paths["tile/0/002.p/88"][:-32] + checker.leaf(data)


def smaller(paths):
    paths["checkpoint"] = paths["checkpoint"].replace(b"\n600\n", b"\n599\n")


def without_last(bundle):
    return bundle[: -2 - len(entry(ALPHA, 511))]


BAD_LOGS = {
    "no checkpoint": (dropped("checkpoint"), checker.Missing),
    "a changed checkpoint": (put("checkpoint", flipped(30)), checker.SignatureFalse),
    "another size": (smaller, checker.SignatureFalse),
    "no bundle": (dropped("tile/entries/001"), checker.Truncated),
    "no last bundle": (dropped("tile/entries/002.p/88"), checker.Truncated),
    "a short bundle": (put("tile/entries/001", without_last), checker.Truncated),
    "a longer tree": (longer, checker.Truncated),
    "half an entry": (put("tile/entries/001", lambda b: b[:-1]), checker.BundleDamaged),
    "half a length": (put("tile/entries/001", lambda b: b + b"\0"), checker.BundleDamaged),
    "an entry more": (put("tile/entries/002.p/88", lambda b: b + b"\0\0"), checker.BundleDamaged),
    "a changed entry": (put("tile/entries/001", flipped(900)), checker.EntryMismatch),
    "no tile": (dropped("tile/0/001"), checker.Missing),
    "no tile above": (dropped("tile/1/000.p/2"), checker.Missing),
    "a short tile": (put("tile/0/001", lambda t: t[:-32]), checker.TileDamaged),
    "a long tile": (put("tile/0/002.p/88", lambda t: t + bytes(32)), checker.TileDamaged),
    "a changed tile": (put("tile/0/001", flipped(99)), checker.LevelMismatch),
    "a changed tile above": (put("tile/1/000.p/2", flipped(40)), checker.LevelMismatch),
    "a changed last tile": (put("tile/0/002.p/88", flipped(0)), checker.RootMismatch),
    "another entry": (other_entry, checker.LevelMismatch),
    "another last entry": (other_last, checker.RootMismatch),
    "another root": (signed_again, checker.RootMismatch),
    "an earlier partial tile": (put("tile/0/001.p/44", flipped(7)), checker.PartialMismatch),
    "an earlier partial tile above": (put("tile/1/000.p/1", flipped(7)), checker.PartialMismatch),
    "an earlier bundle": (put("tile/entries/001.p/44", flipped(9)), checker.PartialMismatch),
    "a short partial tile": (put("tile/0/001.p/1", lambda t: t[:-1]), checker.PartialMismatch),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_LOGS)
def test_a_bad_log_is_refused(what, paths):
    change, error = BAD_LOGS[what]
    change(paths)
    with pytest.raises(error):
        verify_log(paths.get, VKEYS, 0, SIZES)


def test_who_has_to_have_signed(paths):
    with pytest.raises(checker.NotSigned):
        verify_log(paths.get, vkeys_of(BETA))
    with pytest.raises(checker.NotSigned):
        verify_log(paths.get, vkeys_of(GAMMA))
    with pytest.raises(checker.TooFewWitnesses):
        verify_log(paths.get, VKEYS, 2)


def test_a_checkpoint_continues_another(store, paths):
    db, log = store
    notes = [str(tables.checkpoint_at(db, log.number, size)).encode() for size in SIZES]
    for older in notes:
        verify_continues(paths.get, older, notes[-1], VKEYS)
    with pytest.raises(checker.Rollback):
        verify_continues(paths.get, notes[-1], notes[0], VKEYS)
    forged = str(note.sign(ALPHA, 300, b"r" * 32)).encode()
    with pytest.raises(checker.Fork):
        verify_continues(paths.get, forged, notes[-1], VKEYS)
    with pytest.raises(checker.Fork):
        verify_continues(paths.get, forged, notes[4], VKEYS)
    foreign = str(note.sign(BETA, 3, b"r" * 32)).encode()
    with pytest.raises(checker.OtherLog):
        verify_continues(paths.get, foreign, notes[-1], VKEYS)
    with pytest.raises(checker.NotSigned):
        verify_continues(paths.get, notes[0], notes[-1], vkeys_of(GAMMA))
    paths["tile/0/000"] = bytes(8192)
    with pytest.raises(checker.LevelMismatch):
        verify_continues(paths.get, notes[0], notes[-1], VKEYS)


def test_the_product_says_so_too(store):
    db, log = store
    read = tables.tiles_of(db, log.number)
    heads = [tables.checkpoint_at(db, log.number, size) for size in SIZES]
    for old in heads:
        for new in heads:
            proof = tree.consistency_proof(read, old.size, new.size) if old.size <= new.size else []
            shown = tree.verify_consistency(old.size, new.size, old.root, new.root, proof)
            assert shown == (old.size <= new.size)
