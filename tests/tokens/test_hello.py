"""Who calls a node: a signature of what that has drawn, for this connection and this node."""

import pytest
from token_samples import ALPHA, BETA, GAMMA

from tokens.errors import TokenAltered
from tokens.hello import NONCE_BYTES, SIGNATURE_BYTES, check_answer, sign_answer
from tokens.signed import sign

NONCE, NODE, MARK = b"n" * NONCE_BYTES, BETA.dc_id, "a1" * 32
KEY = ALPHA.public.signing_key


def test_an_answer_is_for_one_nonce_node_certificate_and_by_one_datacenter() -> None:
    answer = sign_answer(ALPHA, NONCE, NODE, MARK)
    assert len(answer) == SIGNATURE_BYTES
    check_answer(KEY, NONCE, answer, NODE, MARK)
    for wrong in (
        (GAMMA.public.signing_key, NONCE, answer, NODE, MARK),
        (KEY, b"m" * NONCE_BYTES, answer, NODE, MARK),
        (KEY, NONCE, answer, GAMMA.dc_id, MARK),
        (KEY, NONCE, answer, NODE, "b2" * 32),
        (KEY, NONCE, sign_answer(GAMMA, NONCE, NODE, MARK), NODE, MARK),
        (KEY, NONCE, bytes(SIGNATURE_BYTES), NODE, MARK),
        (KEY, NONCE, b"", NODE, MARK),
    ):
        with pytest.raises(TokenAltered):
            check_answer(*wrong)


def test_an_answer_stays_what_it_is() -> None:
    """Node and datacenter may be of different versions: the bytes that are signed are a format."""
    signed = NONCE + f"{NODE}{ALPHA.dc_id}{MARK}".encode()
    assert sign_answer(ALPHA, NONCE, NODE, MARK) == sign(ALPHA, b"farshore-node-hello-1", signed)


def test_a_nonce_of_another_length_is_not_signed() -> None:
    """A node could else have parts of what is signed change places."""
    for nonce in (b"", NONCE[1:], NONCE + b"n"):
        with pytest.raises(ValueError):
            sign_answer(ALPHA, nonce, NODE, MARK)
