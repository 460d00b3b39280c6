"""Secrets at rest: S3 secret keys, encrypted before they reach a database.

    byte 0        the version of the format, 1
    bytes 1-24    the nonce, random
    the rest      XChaCha20-Poly1305 (IETF) ciphertext with its 16-byte tag

The `context` says whose secret it is ("user/access key") and is authenticated with it, unseen in
the result. A ciphertext that is moved to another row does not open there, so who can write to
the database but has no key cannot give himself somebody else's secret.

Nonces of 24 random bytes do not repeat in practice. The key is 32 bytes, lives outside the
database, and is used for nothing else. An old ciphertext put back in its own row does open: the
store of rows has to notice that, not this.
"""

from collections.abc import Callable

from nacl import bindings
from nacl.exceptions import CryptoError

from tokens.errors import SecretError
from tokens.limits import CONTEXT_BYTES_MAX, SECRET_BYTES_MAX

_VERSION = b"\x01"
_DOMAIN = b"farshore-secret-at-rest-1\0"
_KEY_BYTES = bindings.crypto_aead_xchacha20poly1305_ietf_KEYBYTES
_NONCE_BYTES = bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
_TAG_BYTES = bindings.crypto_aead_xchacha20poly1305_ietf_ABYTES
_OVERHEAD_BYTES = 1 + _NONCE_BYTES + _TAG_BYTES


def check_sizes(plaintext_bytes: int, context: bytes) -> None:
    """SecretError for a secret that is too long and for a context that is empty or too long."""
    if plaintext_bytes > SECRET_BYTES_MAX:
        raise SecretError(
            f"a secret has at most {SECRET_BYTES_MAX} bytes, this one has {plaintext_bytes}"
        )
    if not 1 <= len(context) <= CONTEXT_BYTES_MAX:
        raise SecretError(
            f"a secret's context has 1 to {CONTEXT_BYTES_MAX} bytes, not {len(context)}:"
            " say whose secret it is"
        )


class SecretStore:
    """Encrypts and decrypts with one key of 32 bytes; `random_bytes(n)` draws the nonces."""

    __slots__ = ("_key", "_random_bytes")

    def __init__(self, key: bytes, random_bytes: Callable[[int], bytes]) -> None:
        if len(key) != _KEY_BYTES:
            raise SecretError(f"a secret store's key has {_KEY_BYTES} bytes, not {len(key)}")
        self._key = key
        self._random_bytes = random_bytes

    def encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        """The plaintext's length plus 41 bytes."""
        check_sizes(len(plaintext), context)
        nonce = self._random_bytes(_NONCE_BYTES)
        assert len(nonce) == _NONCE_BYTES
        return (
            _VERSION
            + nonce
            + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
                plaintext, _DOMAIN + context, nonce, self._key
            )
        )

    def decrypt(self, blob: bytes, context: bytes) -> bytes:
        """What `encrypt` was given, with the same context; else SecretError."""
        check_sizes(len(blob) - _OVERHEAD_BYTES, context)
        if len(blob) < _OVERHEAD_BYTES:
            raise SecretError("a stored secret is cut short; restore it or set a new one")
        if blob[:1] != _VERSION:
            raise SecretError(
                f"a stored secret has format {blob[0]}, this farshore reads 1:"
                " run the newer farshore that wrote it"
            )
        try:
            return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                blob[1 + _NONCE_BYTES :],
                _DOMAIN + context,
                blob[1 : 1 + _NONCE_BYTES],
                self._key,
            )
        except CryptoError:
            raise SecretError(
                "a stored secret does not open: another key, another owner, or damage;"
                " check the store's key, or restore or renew the secret"
            ) from None
