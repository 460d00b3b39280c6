"""How a DC shows one of its nodes who is calling: it signs what the node has just drawn.

    DC                                     node
      | <------ nonce: 32 random bytes ----- |   one for each connection
      | ------- signature of it -----------> |   check

No clock is asked, so none can be wrong. The signature covers the nonce, both ids and the
fingerprint of the certificate that the DC has pinned for the node. So it is worth nothing on
another connection, for another node, or to who stands in between with another certificate.
"""

from tokens.identity import Identity, dc_id_of
from tokens.signed import SIGNATURE_BYTES, check, sign

__all__ = ["NONCE_BYTES", "SIGNATURE_BYTES", "check_answer", "sign_answer"]

NONCE_BYTES = 32
_ID_CHARACTERS, _FINGERPRINT_CHARACTERS = 16, 64
_PURPOSE = b"farshore-node-hello-1"


def sign_answer(identity: Identity, nonce: bytes, node_id: str, fingerprint: str) -> bytes:
    """The DC's answer to a nonce of `NONCE_BYTES`: a signature of `SIGNATURE_BYTES`. `fingerprint`:
    the SHA-256 of the node's certificate (DER), hex. ValueError for a nonce of another length."""
    return sign(identity, _PURPOSE, _message(nonce, node_id, identity.dc_id, fingerprint))


def check_answer(
    signing_key: bytes, nonce: bytes, signature: bytes, node_id: str, fingerprint: str
) -> None:
    """TokenAltered unless the DC with this key signed just this."""
    message = _message(nonce, node_id, dc_id_of(signing_key), fingerprint)
    check(signing_key, _PURPOSE, message, signature)


def _message(nonce: bytes, node_id: str, dc_id: str, fingerprint: str) -> bytes:
    """All parts have one length only: so no two tellings give the same bytes."""
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce has {NONCE_BYTES} bytes, this one {len(nonce)}")
    assert len(node_id) == len(dc_id) == _ID_CHARACTERS
    assert len(fingerprint) == _FINGERPRINT_CHARACTERS
    return nonce + f"{node_id}{dc_id}{fingerprint}".encode()
