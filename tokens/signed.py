"""Bytes signed by a DC for one purpose: files, which are not tokens (`tokens.paseto`).

The Ed25519 signature covers the purpose with its version and then the bytes, so a signature made
for one purpose is worthless for every other.
"""

from nacl import bindings
from nacl.exceptions import CryptoError

from tokens.errors import TokenAltered
from tokens.identity import Identity

SIGNATURE_BYTES = bindings.crypto_sign_BYTES


def sign(identity: Identity, purpose: bytes, message: bytes) -> bytes:
    """64 bytes."""
    signed: bytes = bindings.crypto_sign(_whole(purpose, message), identity.signing_secret)
    return signed[:SIGNATURE_BYTES]


def check(signing_key: bytes, purpose: bytes, message: bytes, signature: bytes) -> None:
    """TokenAltered unless the key's owner signed this for this purpose."""
    try:
        bindings.crypto_sign_open(signature + _whole(purpose, message), signing_key)
    except (CryptoError, ValueError):
        raise TokenAltered("the signature does not fit what it is said to be of") from None


def _whole(purpose: bytes, message: bytes) -> bytes:
    assert b"\0" not in purpose
    return purpose + b"\0" + message
