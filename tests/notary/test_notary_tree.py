"""Trees: against the definitions of RFC 6962, against published vectors, and what is refused."""

import hashlib
import random
from itertools import pairwise

import notary_checker as rfc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notary import tree

LEAVES = [rfc.leaf(b"%d" % number) for number in range(600)]

# The eight leaves that implementations of certificate transparency have had in common since
# Google's first one (merkletree/merkle_tree_test.cc); roots and proofs as they are published in
# github.com/transparency-dev/merkle, testdata/ (Apache-2.0).
VECTOR_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
VECTOR_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
_N01 = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
_N23 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
_N03 = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"
_N47 = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
_N67 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
_L1 = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
_L4 = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
_L5 = "4271a26be0d8a84f0bd54c8c302e7cb3a3b5d1fa6780a40bcce2873477dab658"
VECTOR_INCLUSION = [
    (0, 8, [_L1, _N23, _N47]),
    (5, 8, [_L4, _N67, _N03]),
    (2, 3, [_N01]),
    (1, 5, ["6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d", _N23, _L4]),
]
VECTOR_CONSISTENCY = [
    (1, 8, [_L1, _N23, _N47]),
    (6, 8, ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a", _N67, _N03]),
    (2, 5, [_N23, _L4]),
    (6, 7, ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f", _N03]),
]  # fmt: skip


def grown(leaves, *batches) -> tree.Tiles:
    """The tiles of leaves that come in batches up to these sizes."""
    held: tree.Tiles = {}
    for size, more in pairwise((0, *batches, len(leaves))):
        held |= tree.grown(reader(held), size, leaves[size:more])
    return held


def reader(held: tree.Tiles) -> tree.Reader:
    return lambda level, number: held.get((level, number), b"")


READ = reader(grown(LEAVES))


def hexes(hashes) -> list[str]:
    return [one.hex() for one in hashes]


# -- published vectors --------------------------------------------------------------------------


def test_the_published_vectors():
    leaves = [tree.leaf_hash(one) for one in VECTOR_LEAVES]
    read = reader(grown(leaves))
    assert [tree.root(read, size).hex() for size in range(9)] == VECTOR_ROOTS
    assert [rfc.mth(leaves[:size]).hex() for size in range(9)] == VECTOR_ROOTS
    assert tree.leaf_hash(VECTOR_LEAVES[5]).hex() == _L5
    for index, size, proof in VECTOR_INCLUSION:
        assert hexes(tree.inclusion_proof(read, index, size)) == proof
        assert hexes(rfc.path(index, leaves[:size])) == proof
    for old, new, proof in VECTOR_CONSISTENCY:
        assert hexes(tree.consistency_proof(read, old, new)) == proof
        assert hexes(rfc.proof(old, leaves[:new])) == proof


def test_hashes_are_of_prefixed_bytes():
    """A leaf cannot be taken for a node, nor the other way round."""
    assert tree.leaf_hash(b"x") == hashlib.sha256(b"\x00x").digest()
    assert (
        tree.node_hash(b"l" * 32, b"r" * 32)
        == hashlib.sha256(b"\x01" + b"l" * 32 + b"r" * 32).digest()
    )
    assert hashlib.sha256(b"").digest() == tree.EMPTY_ROOT == tree.root(READ, 0)


# -- against the definitions --------------------------------------------------------------------


def indexes_of(size: int) -> list[int]:
    """All of a small tree, or of one at a tile's border; else some."""
    if size <= 40 or size == 257:
        return list(range(size))
    return sorted({0, 1, size // 2, size - 2, size - 1, size * 7 // 11, 255 % size, 256 % size})


@pytest.mark.parametrize("first", range(1, 301, 60))
def test_roots_and_inclusion_are_those_of_the_definitions(first):
    for size in range(first, first + 60):
        root = rfc.mth(LEAVES[:size])
        assert tree.root(READ, size) == root
        for index in indexes_of(size):
            proof = tree.inclusion_proof(READ, index, size)
            assert proof == rfc.path(index, LEAVES[:size])
            assert tree.verify_inclusion(LEAVES[index], index, size, proof, root)
            assert rfc.root_of_path(index, size, LEAVES[index], proof) == root


@pytest.mark.parametrize("first", range(1, 301, 60))
def test_consistency_is_that_of_the_definitions(first):
    for new in range(first, first + 60):
        for old in (index + 1 for index in indexes_of(new)):
            proof = tree.consistency_proof(READ, old, new)
            assert proof == rfc.proof(old, LEAVES[:new])
            roots = tree.root(READ, old), tree.root(READ, new)
            assert tree.verify_consistency(old, new, *roots, proof)


BORDER = 1 << 16


@pytest.fixture(scope="module")
def wide():
    leaves = [number.to_bytes(4, "big") * 8 for number in range(BORDER + 1)]
    return leaves, reader(grown(leaves))


@pytest.mark.parametrize("size", [BORDER - 1, BORDER, BORDER + 1])
def test_where_the_second_level_is_full(wide, size):
    leaves, read = wide
    root = rfc.mth(leaves[:size])
    assert tree.root(read, size) == root
    for index in (0, 255, 256, 65279, 65280, size - 1):
        proof = tree.inclusion_proof(read, index, size)
        assert tree.verify_inclusion(leaves[index], index, size, proof, root)
        assert rfc.root_of_path(index, size, leaves[index], proof) == root
    for old in (1, 255, 256, 257, 32768, 65279, 65280, 65281, size - 1):
        proof = tree.consistency_proof(read, old, size)
        assert tree.verify_consistency(old, size, tree.root(read, old), root, proof)
    assert tree.consistency_proof(read, 65281, size) == rfc.proof(65281, leaves[:size])
    assert tree.inclusion_proof(read, 65280, size) == rfc.path(65280, leaves[:size])


def test_the_largest_tree_that_can_be_counted():
    """A proof in it can be verified; it has as many hashes as are allowed."""
    size = 2**63
    proof = [bytes([number]) * 32 for number in range(tree.PROOF_HASHES_MAX)]
    for index in (0, size - 1, size // 3):
        root = rfc.root_of_path(index, size, LEAVES[0], proof)
        assert tree.verify_inclusion(LEAVES[0], index, size, proof, root)
        assert not tree.verify_inclusion(LEAVES[0], index ^ 1, size, proof, root)


# -- tiles --------------------------------------------------------------------------------------


def tiles_by_definition(leaves) -> tree.Tiles:
    """C2SP tlog-tiles: the n-th tile of level l has the MTH of 256**l leaves each."""
    found: tree.Tiles = {}
    level, width = 0, 1
    while len(leaves) >= width:
        hashes = [
            rfc.mth(leaves[at : at + width]) for at in range(0, len(leaves) // width * width, width)
        ]
        for at in range(0, len(hashes), 256):
            found[level, at // 256] = b"".join(hashes[at : at + 256])
        level, width = level + 1, width * 256
    return found


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 513, 600])
def test_tiles_are_those_of_the_definition(size):
    assert grown(LEAVES[:size]) == tiles_by_definition(LEAVES[:size])


def test_tiles_of_two_levels_and_more(wide):
    leaves, read = wide
    found = tiles_by_definition(leaves)
    assert sorted(found)[-2:] == [(1, 0), (2, 0)]
    assert all(read(*at) == hashes for at, hashes in found.items())
    assert read(1, 1) == read(0, 257) == b""


@settings(deadline=None)
@given(st.lists(st.integers(0, 600), max_size=12))
def test_batches_make_no_difference(batches):
    assert grown(LEAVES, *sorted(batches)) == grown(LEAVES)


@settings(deadline=None, max_examples=10)
@given(st.lists(st.integers(65000, BORDER + 1), max_size=5), st.integers(0, 65000))
def test_batches_make_no_difference_at_the_border(wide, batches, first):
    leaves, read = wide
    held = grown(leaves[:first])
    for size, more in pairwise((first, *sorted(batches), len(leaves))):
        held |= tree.grown(reader(held), size, leaves[size:more])
    assert all(read(*at) == hashes for at, hashes in held.items())
    assert (2, 0) in held and (0, 256) in held


def test_only_what_changes_is_given():
    assert sorted(tree.grown(READ, 300, LEAVES[300:301])) == [(0, 1)]
    assert sorted(tree.grown(READ, 511, LEAVES[511:512])) == [(0, 1), (1, 0)]
    assert sorted(tree.grown(READ, 512, LEAVES[512:513])) == [(0, 2)]
    assert tree.grown(READ, 512, []) == {}


def test_a_tree_is_read_as_it_was():
    """Readers may give more than the tree had that is asked about."""
    small = reader(grown(LEAVES[:300]))
    for size in (1, 200, 256, 299, 300):
        assert tree.root(READ, size) == tree.root(small, size)
        assert tree.inclusion_proof(READ, 0, size) == tree.inclusion_proof(small, 0, size)
    assert tree.grown(READ, 300, LEAVES[300:310]) == tree.grown(small, 300, LEAVES[300:310])


def test_a_tile_that_is_too_short_is_no_tree():
    with pytest.raises(AssertionError):
        tree.root(READ, 601)
    with pytest.raises(AssertionError):
        tree.grown(READ, 601, LEAVES[:1])


# -- what is refused ----------------------------------------------------------------------------


def changed_proofs(proof):
    """Each byte changed, each hash left out, one put in at each place, each two swapped."""
    for at in range(len(proof)):
        for byte in range(32):
            other = bytearray(proof[at])
            other[byte] ^= 1 << (byte + at) % 8
            yield [*proof[:at], bytes(other), *proof[at + 1 :]]
        yield [*proof[:at], *proof[at + 1 :]]
        yield [*proof[:at], proof[at][:-1], *proof[at + 1 :]]
        yield [*proof[:at], proof[at] + b"\0", *proof[at + 1 :]]
        for other in range(at):
            swapped = [*proof]
            swapped[at], swapped[other] = swapped[other], swapped[at]
            yield swapped
    for at in range(len(proof) + 1):
        for one in (bytes(32), LEAVES[0], *proof[:1]):
            yield [*proof[:at], one, *proof[at:]]
    if proof:
        yield []


CASES = [(0, 1), (0, 2), (1, 2), (2, 3), (6, 7), (7, 8), (5, 13), (255, 256), (256, 257), (99, 300)]


@pytest.mark.parametrize("index, size", CASES)
def test_a_changed_inclusion_proof_is_refused(index, size):
    proof, root = tree.inclusion_proof(READ, index, size), tree.root(READ, size)
    leaf = LEAVES[index]
    assert tree.verify_inclusion(leaf, index, size, proof, root)
    for other in changed_proofs(proof):
        assert not tree.verify_inclusion(leaf, index, size, other, root)
    for at in range(32):
        wrong = bytes(b ^ (i == at) for i, b in enumerate(leaf))
        assert not tree.verify_inclusion(wrong, index, size, proof, root)
        wrong = bytes(b ^ (i == at) for i, b in enumerate(root))
        assert not tree.verify_inclusion(leaf, index, size, proof, wrong)
    for other in {*range(-2, 20), index - 1, index + 1, size, size * 2 + index} - {index}:
        assert not tree.verify_inclusion(leaf, other, size, proof, root)
    assert not tree.verify_inclusion(leaf, index, 0, proof, root)
    assert not tree.verify_inclusion(leaf, index, -size, proof, root)


def test_a_path_shows_what_the_definition_says_and_nothing_else():
    """All paths of small trees, put forward for all places in all of them. For some sizes the
    paths are alike; the size is what a checkpoint signs."""
    for size in range(1, 13):
        root = tree.root(READ, size)
        for index in range(size):
            proof = tree.inclusion_proof(READ, index, size)
            for other in range(1, 13):
                for place in range(other):
                    shown = tree.verify_inclusion(LEAVES[index], place, other, proof, root)
                    try:
                        wanted = rfc.root_of_path(place, other, LEAVES[index], proof) == root
                    except rfc.NotIncluded:
                        wanted = False
                    assert shown == wanted, (index, size, place, other)


def test_a_proof_shows_what_the_definition_says_and_nothing_else():
    """All proofs between small trees, put forward between all of them, with the roots that they
    were made for."""
    for new in range(1, 13):
        for old in range(1, new + 1):
            pair = tree.root(READ, old), tree.root(READ, new)
            proof = tree.consistency_proof(READ, old, new)
            for smaller in range(1, 13):
                for larger in range(1, 13):
                    shown = tree.verify_consistency(smaller, larger, *pair, proof)
                    try:
                        wanted = smaller <= larger and (*pair,) == tuple(
                            rfc.roots_of_proof(smaller, larger, pair[0], proof)
                        )
                    except rfc.NotIncluded:
                        wanted = False
                    assert shown == wanted, (old, new, smaller, larger)


def test_what_a_longer_proof_than_its_tree_would_show():
    """A leaf of the right half of a tree is not in one that is as large as the left."""
    root = tree.root(READ, 8)
    for index in range(4, 8):
        proof = tree.inclusion_proof(READ, index, 8)
        assert not tree.verify_inclusion(LEAVES[index], index - 4, 4, proof, root)


PAIRS = [
    (1, 2),
    (2, 3),
    (3, 4),
    (6, 8),
    (4, 8),
    (7, 13),
    (8, 13),
    (256, 300),
    (255, 257),
    (99, 300),
]


@pytest.mark.parametrize("old, new", PAIRS)
def test_a_changed_consistency_proof_is_refused(old, new):
    proof = tree.consistency_proof(READ, old, new)
    roots = before, after = tree.root(READ, old), tree.root(READ, new)
    assert tree.verify_consistency(old, new, before, after, proof)
    for other in changed_proofs(proof):
        assert not tree.verify_consistency(old, new, before, after, other)
    for at in range(32):
        for which in (0, 1):
            wrong = list(roots)
            wrong[which] = bytes(b ^ (i == at) for i, b in enumerate(roots[which]))
            assert not tree.verify_consistency(old, new, *wrong, proof)
    assert not tree.verify_consistency(old, new, after, before, proof)
    assert not tree.verify_consistency(new, old, before, after, proof)
    assert not tree.verify_consistency(old, old, before, after, proof)
    assert not tree.verify_consistency(new, new, before, after, [])
    assert not tree.verify_consistency(-old, new, before, after, proof)
    assert not tree.verify_consistency(0, new, before, after, proof)


def test_a_fork_has_no_consistency_proof():
    """Whatever proof the other tree has, of whatever size."""
    other = [*LEAVES[:5], rfc.leaf(b"another"), *LEAVES[6:40]]
    forked = reader(grown(other))
    for new in range(7, 40):
        for old in range(6, new):
            for read in (READ, forked):
                proof = tree.consistency_proof(read, old, new)
                pair = tree.root(READ, old), tree.root(forked, new)
                assert not tree.verify_consistency(old, new, *pair, proof)


def test_empty_and_equal_trees():
    empty, one, two = (tree.root(READ, size) for size in (0, 1, 2))
    assert tree.consistency_proof(READ, 0, 7) == tree.consistency_proof(READ, 7, 7) == []
    assert tree.verify_consistency(0, 0, empty, empty, [])
    assert not tree.verify_consistency(0, 0, one, one, []), "an empty tree has one root"
    assert not tree.verify_consistency(0, 0, empty, one, [])
    assert tree.verify_consistency(0, 1, empty, one, [])
    assert not tree.verify_consistency(0, 1, one, one, [])
    assert not tree.verify_consistency(0, 1, empty, one, [one])
    assert tree.verify_consistency(2, 2, two, two, [])
    assert not tree.verify_consistency(2, 2, two, two, [one])
    assert not tree.verify_consistency(2, 2, one, two, [])
    assert not tree.verify_inclusion(LEAVES[0], 0, 0, [], empty)


@settings(deadline=None, max_examples=100)
@given(st.randoms(use_true_random=False), st.integers(1, 600), st.integers(1, 600))
def test_proofs_of_any_two_sizes(rng: random.Random, one, other):
    old, new = sorted((one, other))
    pair = tree.root(READ, old), tree.root(READ, new)
    proof = tree.consistency_proof(READ, old, new)
    assert tree.verify_consistency(old, new, *pair, proof)
    assert len(proof) <= 2 * new.bit_length()
    index = rng.randrange(new)
    path = tree.inclusion_proof(READ, index, new)
    assert tree.verify_inclusion(LEAVES[index], index, new, path, pair[1])
    assert len(path) <= new.bit_length()
    if proof:
        at = rng.randrange(len(proof))
        broken = [*proof[:at], rng.randbytes(32), *proof[at + 1 :]]
        assert not tree.verify_consistency(old, new, *pair, broken)
