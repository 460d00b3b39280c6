"""Who a DC is: one Ed25519 key that signs, one X25519 key that others seal secrets to.

The two keys are drawn independently. Deriving one from the other is possible, but then a
mistake with the first would be a mistake with the second, and neither could be replaced alone.

A DC's id is the first 8 bytes of the SHA-256 of its public signing key, as 16 lowercase hex
characters. It is a name, short enough to read out, and nobody can claim one without the key.
Two keys with the same id can be made on purpose at a cost of about 2**32 tries, so whoever keeps
peers pins the whole key, and refuses a second key for an id that it knows.

The file format (version 1) is JSON, and holds both secrets with both public keys beside them:

    {"version":1,"signing_seed":B64,"sealing_secret":B64,"signing_key":B64,"sealing_key":B64}

The public keys are derived again on reading and must be the same, which catches a damaged file
before it signs anything. Writing the file, with mode 0600, is the work of `dc`; before reading
it, `tokens.private_file.check_private_mode` looks at who else could.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from nacl import bindings

from tokens import base64url
from tokens.errors import IdentityError
from tokens.limits import IDENTITY_FILE_BYTES_MAX

FILE_VERSION = 1
KEY_BYTES = 32
_RESTORE = "restore it from a backup"


def dc_id_of(signing_key: bytes) -> str:
    """The id of the DC with this Ed25519 public key."""
    return hashlib.sha256(signing_key).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class PublicIdentity:
    """What everybody may know of a DC: two public keys of 32 bytes, and the id they make."""

    signing_key: bytes
    sealing_key: bytes
    dc_id: str = field(init=False)

    def __post_init__(self) -> None:
        for name, key in (("signing", self.signing_key), ("sealing", self.sealing_key)):
            if len(key) != KEY_BYTES:
                raise IdentityError(f"a public {name} key has 32 bytes, this one {len(key)}")
        object.__setattr__(self, "dc_id", dc_id_of(self.signing_key))


class Identity:
    """A DC's own identity, with its secrets. Its repr shows the id only."""

    __slots__ = ("public", "sealing_secret", "signing_secret")

    def __init__(self, signing_seed: bytes, sealing_secret: bytes) -> None:
        """From 32 random bytes for each key; IdentityError for any other length."""
        for name, secret in (("signing seed", signing_seed), ("sealing secret", sealing_secret)):
            if len(secret) != KEY_BYTES:
                raise IdentityError(f"a {name} has 32 bytes, this one {len(secret)}")
        signing_key, self.signing_secret = bindings.crypto_sign_seed_keypair(signing_seed)
        self.sealing_secret = sealing_secret
        self.public = PublicIdentity(signing_key, bindings.crypto_scalarmult_base(sealing_secret))

    @classmethod
    def generate(cls, random_bytes: Callable[[int], bytes]) -> "Identity":
        """A new identity; `random_bytes(n)` gives n bytes fit for keys."""
        return cls(random_bytes(KEY_BYTES), random_bytes(KEY_BYTES))

    @classmethod
    def load(cls, data: bytes) -> "Identity":
        """The identity that `dump` wrote; IdentityError says what is wrong with any other."""
        stored = _parse_file(data)
        try:
            signing_seed = base64url.decode(stored.signing_seed)
            sealing_secret = base64url.decode(stored.sealing_secret)
        except ValueError as error:
            raise IdentityError(f"a key in the identity file has {error}; {_RESTORE}") from None
        identity = cls(signing_seed, sealing_secret)
        if identity._file() != stored:
            raise IdentityError(
                f"the identity file's public keys do not belong to its secret keys; {_RESTORE}"
            )
        return identity

    @property
    def dc_id(self) -> str:
        """16 lowercase hex characters."""
        return self.public.dc_id

    def dump(self) -> bytes:
        """The content of the identity file. It holds both secret keys."""
        data = msgspec.json.encode(self._file()) + b"\n"
        assert len(data) <= IDENTITY_FILE_BYTES_MAX
        return data

    def _file(self) -> "_File":
        return _File(
            version=FILE_VERSION,
            signing_seed=base64url.encode(self.signing_secret[:KEY_BYTES]),
            sealing_secret=base64url.encode(self.sealing_secret),
            signing_key=base64url.encode(self.public.signing_key),
            sealing_key=base64url.encode(self.public.sealing_key),
        )

    def __repr__(self) -> str:
        return f"<Identity of DC {self.dc_id}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("an identity is written with dump(), never pickled or copied")


class _Versioned(msgspec.Struct):
    version: int


class _File(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    version: int
    signing_seed: str
    sealing_secret: str
    signing_key: str
    sealing_key: str

    def __repr__(self) -> str:
        return "<identity file>"


def _parse_file(data: bytes) -> _File:
    if not data.strip():
        raise IdentityError(f"the identity file is empty; {_RESTORE}")
    if len(data) > IDENTITY_FILE_BYTES_MAX:
        raise IdentityError(
            f"the identity file has {len(data)} bytes, more than {IDENTITY_FILE_BYTES_MAX}:"
            f" it is some other file; {_RESTORE}"
        )
    try:
        version = msgspec.json.decode(data, type=_Versioned).version
        if version > FILE_VERSION:
            raise IdentityError(
                f"the identity file has version {version}, this farshore reads up to"
                f" {FILE_VERSION}: run the newer farshore that wrote it"
            )
        if version != FILE_VERSION:
            raise IdentityError(f"the identity file has no version {version}; {_RESTORE}")
        return msgspec.json.decode(data, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise IdentityError(
            f"the identity file is damaged or is some other file ({error}); {_RESTORE}"
        ) from None
