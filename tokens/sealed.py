"""Secrets in travel: sealed to the public sealing key of the DC that is to have them.

    byte 0        the version of the format, 1
    the rest      a libsodium sealed box of: SHA-256 of the context (32 bytes), then the secret

Only the receiver opens it, not even the sender; a hub that passes it on sees nothing. Sealed
boxes have no associated data, so the hash of the context ("user/access key") travels inside and
is compared after opening: a box cannot be delivered as another user's.

A sealed box does not say who made it, since everybody knows the receiver's public key. It
travels inside a change that its DC signed; that signature says who.

The one-time key of a sealed box is drawn by libsodium itself, so sealing the same secret twice
gives different bytes, under a simulated randomness too.
"""

import hashlib
import hmac

from nacl import bindings
from nacl.exceptions import CryptoError

from tokens.errors import SecretError
from tokens.identity import KEY_BYTES, Identity
from tokens.secret_store import check_sizes

_VERSION = b"\x01"
_DOMAIN = b"farshore-sealed-secret-1\0"
_HASH_BYTES = 32
_OVERHEAD_BYTES = 1 + bindings.crypto_box_SEALBYTES + _HASH_BYTES


def seal(recipient_sealing_key: bytes, plaintext: bytes, context: bytes) -> bytes:
    """The plaintext's length plus 81 bytes; SecretError for an unusable key or size."""
    check_sizes(len(plaintext), context)
    if len(recipient_sealing_key) != KEY_BYTES:
        raise SecretError(f"a sealing key has 32 bytes, this one {len(recipient_sealing_key)}")
    try:
        box = bindings.crypto_box_seal(_context_hash(context) + plaintext, recipient_sealing_key)
    except CryptoError:
        raise SecretError("a sealing key that everybody could open; pair the DC anew") from None
    return _VERSION + box


def unseal(identity: Identity, blob: bytes, context: bytes) -> bytes:
    """What was sealed to this DC with this context; else SecretError."""
    check_sizes(len(blob) - _OVERHEAD_BYTES, context)
    if len(blob) < _OVERHEAD_BYTES:
        raise SecretError("a sealed secret is cut short; have it sent again")
    if blob[:1] != _VERSION:
        raise SecretError(
            f"a sealed secret has format {blob[0]}, this farshore reads 1: upgrade this DC"
        )
    try:
        opened = bindings.crypto_box_seal_open(
            blob[1:], identity.public.sealing_key, identity.sealing_secret
        )
    except CryptoError:
        raise SecretError(
            "a sealed secret does not open: it is for another DC, or damaged; have it sent again"
        ) from None
    if not hmac.compare_digest(opened[:_HASH_BYTES], _context_hash(context)):
        raise SecretError("a sealed secret belongs to another user or access key; refuse it")
    return opened[_HASH_BYTES:]


def _context_hash(context: bytes) -> bytes:
    return hashlib.sha256(_DOMAIN + context).digest()
