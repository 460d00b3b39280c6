"""Access tokens: how one paired DC shows another, request by request, who is calling.

The caller signs a token with its identity key: who it is (`iss`), whom it calls (`aud`), and a
life of at most 300 seconds. The verifier looks up the key of `iss` among its peers, so a peer
that was removed is refused from that moment, whatever tokens it still has. A token for one DC
cannot be passed on to another one, because `aud` is signed.

Within its life a token is used for many requests; it is bearer proof, and what keeps it from
being copied is the TLS channel it travels in. The `jti` makes tokens of the same second differ
and names one in the log; it is not a single-use mark.

Verifying costs a fifth of a millisecond, so a verified token is remembered until it
expires, by its hash. Remembered or not, every call looks up the caller's key again and compares
the clock again: a removed peer, a changed key and the end of the token's life act at once. The
memory is bounded; the oldest entry gives way.

Who is refused learns nothing: `AccessDenied` always has the same text, and its `reason` is for
this side's log.
"""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable

from tokens.claims import (
    Claims,
    TokenKind,
    is_dc_id,
    is_jti,
    issue_claims,
    new_jti,
    open_claims,
    peek,
)
from tokens.errors import AccessDenied, TokenError
from tokens.identity import KEY_BYTES, Identity
from tokens.limits import (
    ACCESS_CACHE_ENTRIES_MAX,
    ACCESS_LIFETIME_SECONDS_MAX,
    CLOCK_SKEW_SECONDS,
    TOKEN_CHARACTERS_MAX,
)

KeyOf = Callable[[str], bytes | None]


class _AccessClaims(Claims, frozen=True, forbid_unknown_fields=True, kw_only=True):
    iss: str
    aud: str
    jti: str


_ACCESS = TokenKind(
    purpose="farshore-access-1",
    claims=_AccessClaims,
    lifetime_seconds_max=ACCESS_LIFETIME_SECONDS_MAX,
    noun="access token",
    remedy="the caller issues a new one",
)


def issue_access(
    identity: Identity,
    audience: str,
    now: int,
    random_bytes: Callable[[int], bytes],
    lifetime_seconds: int = ACCESS_LIFETIME_SECONDS_MAX,
) -> str:
    """A token with which this DC calls DC `audience`. ValueError for a bad id or lifetime."""
    if not is_dc_id(audience):
        raise ValueError("the audience is a DC's id, 16 lowercase hex characters")
    claims = _AccessClaims(
        purpose=_ACCESS.purpose,
        iss=identity.dc_id,
        aud=audience,
        jti=new_jti(random_bytes),
        iat=now,
        exp=now + lifetime_seconds,
    )
    return issue_claims(_ACCESS, identity, claims)


class AccessTokens:
    """Tokens for one DC, each used for half of its life: so all have at least the other half before
    them. `monotonic` gives seconds to measure by, `now` those since 1970."""

    def __init__(
        self,
        identity: Identity,
        audience: str,
        monotonic: Callable[[], float],
        now: Callable[[], int],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._identity = identity
        self._audience = audience
        self._monotonic = monotonic
        self._now = now
        self._random_bytes = random_bytes
        # One value, for threads: two of them may at most both issue one.
        self._made = ("", float("-inf"))

    def current(self) -> str:
        token, renew_at = self._made
        began = self._monotonic()
        if began >= renew_at:
            token = issue_access(self._identity, self._audience, self._now(), self._random_bytes)
            self._made = token, began + ACCESS_LIFETIME_SECONDS_MAX / 2
        return token


class AccessVerifier:
    """Verifies the tokens of callers of one DC, and remembers those that were good."""

    def __init__(self, own_dc_id: str) -> None:
        assert is_dc_id(own_dc_id)
        self._own_dc_id = own_dc_id
        self._verified: OrderedDict[bytes, tuple[_AccessClaims, bytes]] = OrderedDict()

    def verify(self, token: str, key_of: KeyOf, now: int) -> str:
        """The id of the calling DC, or AccessDenied.

        `key_of` gives the signing key of a paired DC, None for everybody else.
        """
        if len(token) > TOKEN_CHARACTERS_MAX or not token.isascii():
            raise AccessDenied("the text is too long or is no token")
        mark = hashlib.sha256(token.encode()).digest()
        remembered = self._verified.get(mark)
        if remembered is not None:
            if self._still_good(remembered, key_of, now):
                return remembered[0].iss
            # Verified in full below, so that the log gets the true reason.
            del self._verified[mark]
        claims, key = self._verify_in_full(token, key_of, now)
        self._verified[mark] = (claims, key)
        if len(self._verified) > ACCESS_CACHE_ENTRIES_MAX:
            self._verified.popitem(last=False)
        return claims.iss

    def _still_good(self, entry: tuple[_AccessClaims, bytes], key_of: KeyOf, now: int) -> bool:
        claims, key = entry
        current_key = key_of(claims.iss)
        if current_key is None or not hmac.compare_digest(current_key, key):
            return False
        return claims.iat - CLOCK_SKEW_SECONDS <= now < claims.exp + CLOCK_SKEW_SECONDS

    def _verify_in_full(self, token: str, key_of: KeyOf, now: int) -> tuple[_AccessClaims, bytes]:
        try:
            caller = peek(_ACCESS, token).iss
            if not is_dc_id(caller):
                raise AccessDenied("the token names no caller")
            key = key_of(caller)
            if key is None:
                raise AccessDenied(f"DC {caller} is not a peer")
            assert len(key) == KEY_BYTES
            claims = open_claims(_ACCESS, token, key, now)
        except AccessDenied:
            raise
        except TokenError as error:
            raise AccessDenied(f"{type(error).__name__}: {error}") from None
        if claims.iss != caller or not is_jti(claims.jti):
            raise AccessDenied("the token's caller or id is not well-formed")
        if not is_dc_id(claims.aud) or claims.aud != self._own_dc_id:
            raise AccessDenied(f"DC {caller} sent a token that is for another DC")
        return claims, key
