"""PASETO v4.public: a signed, readable token (paseto-standard/paseto-spec, Version4.md).

    v4.public.<base64url(payload || 64 bytes of Ed25519 signature)>[.<base64url(footer)>]

The signature covers the pre-authentication encoding (PAE) of four pieces: the header, the
payload, the footer, and the implicit assertion. The implicit assertion is not in the token: who
verifies must already know it. Farshore puts a token's purpose there, so that a signature made
for one purpose is worthless for every other, whatever the payload says.

There is no choice of algorithm. The header is compared as a whole, and nothing in the token
picks a key type. The text is parsed strictly: canonical base64url only, no empty footer, and a
limit on its length before anything else is looked at.

Not here: `v4.local` (encrypted tokens), key ids in footers, claims. The payload is bytes; its
exact bytes were signed and its exact bytes are returned.
"""

import hmac

from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey

from tokens import base64url
from tokens.errors import TokenAltered, TokenMalformed
from tokens.limits import TOKEN_CHARACTERS_MAX

HEADER = "v4.public."
_SIGNATURE_BYTES = bindings.crypto_sign_BYTES
_PUBLIC_KEY_BYTES = bindings.crypto_sign_PUBLICKEYBYTES
_SECRET_KEY_BYTES = bindings.crypto_sign_SECRETKEYBYTES
_SEED_BYTES = bindings.crypto_sign_SEEDBYTES


def pre_authentication_encoding(pieces: list[bytes]) -> bytes:
    """PAE: the number of pieces, then each with its length, all lengths 64-bit little-endian."""
    encoded = [_le64(len(pieces))]
    for piece in pieces:
        encoded += (_le64(len(piece)), piece)
    return b"".join(encoded)


def sign(
    secret_key: bytes | SigningKey, payload: bytes, footer: bytes = b"", implicit: bytes = b""
) -> str:
    """Sign a payload.

    `secret_key` is libsodium's 64 bytes (seed, then public key) or a PyNaCl SigningKey. Raises
    ValueError for a key whose two halves do not belong together, since signing with one would
    give the key away, and TokenMalformed when the token would be over the size limit.
    """
    key = _whole_secret_key(secret_key)
    message = pre_authentication_encoding([HEADER.encode(), payload, footer, implicit])
    signature = bindings.crypto_sign(message, key)[:_SIGNATURE_BYTES]
    token = HEADER + base64url.encode(payload + signature)
    if footer:
        token += "." + base64url.encode(footer)
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise TokenMalformed(
            f"a token of {len(token)} characters is over the limit of {TOKEN_CHARACTERS_MAX};"
            " put less into it"
        )
    return token


def verify(public_key: bytes, token: str, footer: bytes = b"", implicit: bytes = b"") -> bytes:
    """The payload of a token signed by this key, with this footer and implicit assertion.

    Raises TokenMalformed for what is not a v4.public token, TokenAltered for one whose signature
    does not fit, and ValueError for a public key that does not have 32 bytes.
    """
    if len(public_key) != _PUBLIC_KEY_BYTES:
        raise ValueError(f"an Ed25519 public key has 32 bytes, this one {len(public_key)}")
    payload, signature, its_footer = _parse(token)
    if not hmac.compare_digest(its_footer, footer):
        raise TokenAltered("the token's footer is not the expected one; ask for a new token")
    message = pre_authentication_encoding([HEADER.encode(), payload, footer, implicit])
    try:
        bindings.crypto_sign_open(signature + message, public_key)
    except CryptoError:
        raise TokenAltered(
            "the token's signature does not fit its content; copy it again, whole, from where"
            " it was issued"
        ) from None
    return payload


def unverified_payload(token: str) -> bytes:
    """What the token says, unproven: good for finding the key to verify it with, only."""
    return _parse(token)[0]


def _parse(token: str) -> tuple[bytes, bytes, bytes]:
    """Payload, signature and footer of a well-formed token."""
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise TokenMalformed(
            f"a token has at most {TOKEN_CHARACTERS_MAX} characters, this text has {len(token)}"
        )
    if not token.startswith(HEADER):
        raise TokenMalformed(
            f"a token starts with {HEADER!r}, this text does not; copy the whole line"
        )
    body_text, dot, footer_text = token[len(HEADER) :].partition(".")
    if dot and not footer_text:
        raise TokenMalformed("the token ends in a dot with nothing behind it; copy it again")
    try:
        body, footer = base64url.decode(body_text), base64url.decode(footer_text)
    except ValueError as error:
        raise TokenMalformed(f"the token has {error}; copy the whole line again") from None
    if len(body) < _SIGNATURE_BYTES:
        raise TokenMalformed("the token is too short to hold a signature; copy the whole line")
    return body[:-_SIGNATURE_BYTES], body[-_SIGNATURE_BYTES:], footer


def _whole_secret_key(secret_key: bytes | SigningKey) -> bytes:
    if isinstance(secret_key, SigningKey):
        return bytes(secret_key) + bytes(secret_key.verify_key)
    if len(secret_key) != _SECRET_KEY_BYTES:
        raise ValueError(f"an Ed25519 secret key has 64 bytes, this one {len(secret_key)}")
    public, _ = bindings.crypto_sign_seed_keypair(secret_key[:_SEED_BYTES])
    if not hmac.compare_digest(public, secret_key[_SEED_BYTES:]):
        raise ValueError("the public half of this Ed25519 secret key belongs to another key")
    return secret_key


def _le64(number: int) -> bytes:
    # The specification clears the top bit, for languages without unsigned integers.
    return (number & 0x7FFF_FFFF_FFFF_FFFF).to_bytes(8, "little")
