"""Identities, places and forged tokens for the tests of `tokens`."""

import hashlib
import itertools
import json

from tokens import base64url, paseto
from tokens.identity import Identity
from tokens.place import Place

NOW = 1_800_000_000
JTI = "0123456789abcdef0123456789abcdef"


class CountedBytes:
    """Bytes that look random and are the same in every run."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._count = itertools.count()

    def __call__(self, n: int) -> bytes:
        drawn = b""
        while len(drawn) < n:
            drawn += hashlib.sha256(f"{self._seed}/{next(self._count)}".encode()).digest()
        return drawn[:n]


ALPHA = Identity.generate(CountedBytes("alpha"))
BETA = Identity.generate(CountedBytes("beta"))
GAMMA = Identity.generate(CountedBytes("gamma"))

ALPHA_PLACE = Place("alpha", "eu-west", ("alpha.example:7443", "[2001:db8::1]:7443"), "a1" * 32)
BETA_PLACE = Place("beta", "eu-east", ("192.0.2.7:7443",), "b2" * 32)


def claims_of(token: str) -> dict:
    """What a token says, as plain JSON."""
    return json.loads(paseto.unverified_payload(token))


def forge(identity: Identity, claims: dict | bytes, implicit: str | None = None) -> str:
    """A token with any claims, under a genuine signature of this identity."""
    if isinstance(claims, dict):
        payload = json.dumps(claims, separators=(",", ":"), ensure_ascii=False).encode()
        implicit = claims.get("purpose", "") if implicit is None else implicit
    else:
        payload = claims
    return paseto.sign(identity.signing_secret, payload, implicit=(implicit or "").encode())


def flips(token: str) -> list[str]:
    """The token with each character changed, in turn, into another of the alphabet."""
    return [
        token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :] for i in range(len(token))
    ]


def bit_flips(token: str) -> list[str]:
    """The token with the lowest bit of each byte of its body flipped, and encoded again."""
    head, body = token[: len(paseto.HEADER)], base64url.decode(token[len(paseto.HEADER) :])
    return [
        head + base64url.encode(body[:i] + bytes([body[i] ^ 1]) + body[i + 1 :])
        for i in range(len(body))
    ]
