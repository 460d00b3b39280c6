"""Base64url without padding, in exactly one spelling (RFC 4648, sections 3.5 and 5).

Most decoders accept several texts for the same bytes: with padding or without, with spare bits
set in the last character, with line breaks inside. A text that can be changed without changing
its meaning defeats every list of texts already seen, so only the canonical one is accepted.
"""

import base64
import binascii
import re

_ALPHABET = re.compile(r"[A-Za-z0-9_-]*")


def encode(data: bytes) -> str:
    """The one canonical text for these bytes."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """The bytes behind a canonical text; ValueError for every other text."""
    if not _ALPHABET.fullmatch(text):
        raise ValueError("a character outside the base64url alphabet")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("an impossible base64url length") from None
    if encode(data) != text:
        raise ValueError("base64url with spare bits set")
    return data
