"""AES-256 in counter mode over bodies: bytes in, as many bytes out, from any place on.

Each body (an object, or a part of one) has a nonce of its own, and from it and a master key (a
client's, or a data key) comes the key that it is encrypted with, and only it: so the counter can
begin at 0, and no two bodies share a key stream. `master -> key` is BLAKE2b keyed with the master.
Nothing is added that would tell a change of the ciphertext: containers and replicas have checksums.
"""

import hmac
from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b, sha256
from itertools import accumulate
from typing import TYPE_CHECKING

from awscrt.checksums import crc64nvme

from dc.ports import Buffer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import CipherContext

KEY_BYTES = 32
NONCE_BYTES = 16
_BLOCK_BYTES = 16
_PERSON = b"farshore-body-1"
_CHECK = b"farshore-customer-key-1\0"


def body_key(master: bytes, nonce: str) -> bytes:
    """The key of one body; `nonce` is hex."""
    raw = bytes.fromhex(nonce)
    return blake2b(raw, digest_size=KEY_BYTES, key=master, person=_PERSON).digest()


def key_check(key: bytes, salt: bytes) -> str:
    """What a client's key is recognised by and cannot be computed from."""
    return f"{salt.hex()}{hmac.digest(key, _CHECK + salt, sha256).hex()}"


def is_key(key: bytes, check: str) -> bool:
    """Whether `check` was made of this key."""
    salt = bytes.fromhex(check[: 2 * NONCE_BYTES])
    return hmac.compare_digest(key_check(key, salt), check)


def _stream(key: bytes, offset: int) -> "CipherContext":
    """The key stream from a place on."""
    # Imported with the first body that is encrypted: the library takes memory (7 MB), and many
    # datacenters encrypt nothing. From the second on this costs a microsecond.
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    counter = (offset // _BLOCK_BYTES).to_bytes(_BLOCK_BYTES, "big")
    context = Cipher(algorithms.AES256(key), modes.CTR(counter)).encryptor()
    context.update(bytes(offset % _BLOCK_BYTES))
    return context


class Encrypter:
    """Encrypts one body from its beginning. `crc64` is of what it gave."""

    __slots__ = ("_context", "crc64", "nonce")

    def __init__(self, master: bytes, nonce: str) -> None:
        self.nonce = nonce
        self.crc64 = 0
        self._context = _stream(body_key(master, nonce), 0)

    def update(self, data: Buffer) -> bytes:
        sealed = self._context.update(data)
        self.crc64 = crc64nvme(sealed, self.crc64)
        return sealed


class Decrypter:
    """Decrypts an object, from the byte `start` on. `sizes` are those of its parts."""

    __slots__ = ("_context", "_ends", "_left", "_master", "_nonces", "_part")

    def __init__(
        self, master: bytes, nonces: Sequence[str], sizes: Sequence[int], start: int
    ) -> None:
        self._master = master
        self._nonces = nonces
        self._ends = list(accumulate(sizes))
        self._part = bisect_right(self._ends, start)
        self._context: CipherContext | None = None
        self._left = 0
        if self._part < len(self._ends):
            self._enter(start)

    def _enter(self, at: int) -> None:
        """Begin with the byte `at`, which is in the part `_part`."""
        begin = self._ends[self._part - 1] if self._part else 0
        key = body_key(self._master, self._nonces[self._part])
        self._context = _stream(key, at - begin)
        self._left = self._ends[self._part] - at

    def update(self, data: Buffer) -> bytes:
        """The next bytes."""
        if len(data) <= self._left and self._context is not None:
            self._left -= len(data)
            return self._context.update(data)
        found: list[bytes] = []
        view = memoryview(data)
        while view:
            if not self._left:
                self._part = bisect_right(self._ends, self._ends[self._part])
                self._enter(self._ends[self._part - 1])
            assert self._context is not None
            found.append(self._context.update(view[: self._left]))
            view = view[len(found[-1]) :]
            self._left -= len(found[-1])
        return b"".join(found)
