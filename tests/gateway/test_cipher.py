"""The cipher of bodies: any piece of an object, cut anywhere, is what it was."""

from itertools import pairwise

from awscrt.checksums import crc64nvme
from hypothesis import given
from hypothesis import strategies as st

from gateway.cipher import Decrypter, Encrypter, body_key, is_key, key_check

MASTER = bytes(range(32))


def nonce(number: int) -> str:
    return number.to_bytes(16, "big").hex()


@st.composite
def objects(draw):
    """Parts, a range of them all, and the pieces in which the range is read."""
    parts = draw(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
    size = sum(map(len, parts))
    start = draw(st.integers(0, size))
    stop = draw(st.integers(start, size))
    cuts = draw(st.lists(st.integers(start, stop), max_size=6))
    return parts, start, stop, sorted({start, *cuts, stop})


@given(objects())
def test_any_range_in_any_pieces_is_what_was_encrypted(drawn):
    parts, start, stop, cuts = drawn
    sealed = b""
    for number, part in enumerate(parts):
        encrypter = Encrypter(MASTER, nonce(number))
        middle = len(part) // 2
        mine = encrypter.update(part[:middle]) + encrypter.update(memoryview(part)[middle:])
        assert len(mine) == len(part)
        assert encrypter.crc64 == crc64nvme(mine)
        sealed += mine
    nonces = [nonce(number) for number in range(len(parts))]
    decrypter = Decrypter(MASTER, nonces, [len(part) for part in parts], start)
    found = b"".join(
        decrypter.update(memoryview(sealed)[first:last]) for first, last in pairwise(cuts)
    )
    assert found == b"".join(parts)[start:stop]


def test_bodies_of_one_master_key_share_no_key_stream():
    zeros = bytes(4096)
    streams = [Encrypter(MASTER, nonce(number)).update(zeros) for number in range(50)]
    blocks = [stream[at : at + 16] for stream in streams for at in range(0, 4096, 16)]
    assert len(set(blocks)) == len(blocks)
    assert body_key(MASTER, nonce(1)) != body_key(bytes(32), nonce(1))


def test_a_customer_key_is_recognised_and_not_kept():
    check = key_check(MASTER, bytes(16))
    assert is_key(MASTER, check)
    assert not is_key(bytes(32), check)
    assert key_check(MASTER, b"1" * 16)[32:] != check[32:]
    assert MASTER.hex() not in check
