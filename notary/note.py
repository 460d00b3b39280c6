"""Signed notes, and checkpoints, which are such: read, written, signed, verified.

Source: C2SP signed-note, tlog-checkpoint, tlog-cosignature.
"""

import hashlib
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable
from typing import NamedTuple

from nacl import bindings
from nacl.exceptions import BadSignatureError

from notary.errors import NoteInvalid
from notary.tree import HASH_BYTES
from tokens.identity import Identity, dc_id_of

LOG = 1
"""The type of a plain Ed25519 signature: a log's."""
WITNESS = 4
"""The type of a cosignature with a time."""
KEY_BYTES = 32
ID_BYTES = 4
SIGNATURE_BYTES = 64
TIME_BYTES = 8
NOTE_BYTES_MAX = 64 << 10
SIGNATURES_MAX = 100
SIZE_MAX = 2**63 - 1
SECONDS_MAX = 253_402_300_799
"""The last of the year 9999: later ones cannot be shown."""
_DASH = "\u2014 "
_PREFIX = "farshore/"
_WITNESS = "/witness"


def origin_of(dc_id: str) -> str:
    """The origin of a DC's log."""
    return _PREFIX + dc_id


class Key(NamedTuple):
    """A public key as notes name it."""

    name: str
    kind: int
    """`LOG` or `WITNESS`."""
    public: bytes

    @property
    def id(self) -> bytes:
        text = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return hashlib.sha256(text).digest()[:ID_BYTES]

    @property
    def dc_id(self) -> str:
        """Of the DC whose key it is."""
        return dc_id_of(self.public)

    def __str__(self) -> str:
        """As C2SP writes verifier keys."""
        return f"{self.name}+{self.id.hex()}+{to_base64(bytes([self.kind]) + self.public)}"


def log_key(public: bytes) -> Key:
    """Of the log of the DC with this signing key."""
    return Key(origin_of(dc_id_of(public)), LOG, public)


def witness_key(public: bytes) -> Key:
    return Key(origin_of(dc_id_of(public)) + _WITNESS, WITNESS, public)


def read_key(text: str) -> Key:
    """A verifier key. NoteInvalid."""
    name, _, rest = text.strip().partition("+")
    mark, _, encoded = rest.partition("+")
    data = from_base64(encoded)
    if data is None or len(data) != 1 + KEY_BYTES or data[0] not in (LOG, WITNESS):
        raise NoteInvalid(f"{text[:100]!r} is no Ed25519 key of a log or a witness")
    key = Key(name, data[0], data[1:])
    if not _is_name(name) or key.id.hex() != mark:
        raise NoteInvalid(f"the key {text[:100]!r} is damaged: its parts do not belong together")
    return key


def read_keys(text: str) -> list[Key]:
    """One in each line; what follows a # is left out. NoteInvalid."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [read_key(line) for line in lines if line]


class Signature(NamedTuple):
    """A signature line."""

    name: str
    id: bytes
    data: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {to_base64(self.id + self.data)}\n"

    def is_by(self, key: Key) -> bool:
        """Whether it says that it is by that key."""
        return self.name == key.name and self.id == key.id


class Checkpoint(NamedTuple):
    """A signed note that is a checkpoint."""

    origin: str
    size: int
    root: bytes
    signatures: tuple[Signature, ...]

    @property
    def body(self) -> str:
        """What is signed."""
        return body_of(self.origin, self.size, self.root)

    def __str__(self) -> str:
        return self.body + "\n" + "".join(map(str, self.signatures))

    def with_signatures(self, signatures: Iterable[Signature]) -> "Checkpoint":
        """With further ones, in their order; of two of the same key the later one: its bytes begin
        with its time. So all who have a checkpoint come to have the same signatures of it."""
        both = sorted((*self.signatures, *signatures), key=lambda one: one.data)
        by_key = {(one.name, one.id): one for one in both}
        first = self.signatures[:1]
        rest = sorted(one for one in by_key.values() if one not in first)
        return self._replace(signatures=(*first, *rest))

    def by(self, key: Key) -> tuple[Signature, ...]:
        """The signatures that say they are of this key."""
        return tuple(one for one in self.signatures if one.is_by(key))

    @property
    def witnesses(self) -> tuple[Signature, ...]:
        """The signatures that are not the log's."""
        return tuple(one for one in self.signatures if one.name != self.origin)


def body_of(origin: str, size: int, root: bytes) -> str:
    return f"{origin}\n{size}\n{to_base64(root)}\n"


def read_checkpoint(note: str) -> Checkpoint:
    """What a note says; nothing is verified. NoteInvalid, also for one with extension lines, and
    for one that would be written otherwise."""
    if len(note) > NOTE_BYTES_MAX:
        raise NoteInvalid("the checkpoint is too long")
    text, _, lines = note.rpartition("\n\n")
    parts = f"{text}\n".split("\n")
    if len(parts) != 4 or not _is_name(parts[0]):
        raise NoteInvalid("that is no checkpoint: it has not the three lines of one")
    size, root = read_number(parts[1]), from_base64(parts[2])
    if size is None or root is None or len(root) != HASH_BYTES:
        raise NoteInvalid("that is no checkpoint: it has no size and root hash")
    found = Checkpoint(parts[0], size, root, read_signatures(lines))
    if str(found) != note:
        raise NoteInvalid("the checkpoint is not written as one is to be")
    return found


def read_signatures(lines: str) -> tuple[Signature, ...]:
    """Signature lines, one at least. NoteInvalid."""
    if not lines.endswith("\n") or lines.count("\n") > SIGNATURES_MAX:
        raise NoteInvalid("the note has no signatures, or too many")
    found = []
    for line in lines[:-1].split("\n"):
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        data = from_base64(encoded)
        if (
            not line.startswith(_DASH)
            or not _is_name(name)
            or data is None
            or len(data) <= ID_BYTES
        ):
            raise NoteInvalid("a signature line of the note is damaged")
        found.append(Signature(name, data[:ID_BYTES], data[ID_BYTES:]))
    return tuple(found)


def hash_lines(hashes: Iterable[bytes]) -> str:
    """A line for each hash."""
    return "".join(f"{to_base64(one)}\n" for one in hashes)


def read_hashes(lines: Iterable[str]) -> list[bytes]:
    """What `hash_lines` wrote, by line. NoteInvalid."""
    found = [from_base64(line) for line in lines]
    if any(one is None or len(one) != HASH_BYTES for one in found):
        raise NoteInvalid("a line of the proof is no hash")
    return [one for one in found if one is not None]


def sign(identity: Identity, size: int, root: bytes) -> Checkpoint:
    """A checkpoint of this DC's log."""
    key = log_key(identity.public.signing_key)
    body = body_of(key.name, size, root)
    return Checkpoint(key.name, size, root, (Signature(key.name, key.id, _sign(identity, body)),))


def cosign(identity: Identity, checkpoint: Checkpoint, seconds: int) -> Signature:
    """This DC's cosignature of a checkpoint that it has looked into, at that time."""
    key = witness_key(identity.public.signing_key)
    data = seconds.to_bytes(TIME_BYTES, "big")
    return Signature(key.name, key.id, data + _sign(identity, _timed(checkpoint.body, seconds)))


def time_of(signature: Signature) -> int:
    """When a cosignature was made: seconds since 1970."""
    return int.from_bytes(signature.data[:TIME_BYTES], "big")


def is_signed(checkpoint: Checkpoint, key: Key) -> bool:
    """Whether a checkpoint has a signature by a key. NoteInvalid when it has one that is false."""
    found = checkpoint.by(key)
    for one in found:
        if not _verifies(checkpoint, one, key):
            raise NoteInvalid(f"the signature of {key.name} is false")
    return bool(found)


def signed_text(identity: Identity, text: str) -> bytes:
    """A signature of this DC over a text that begins with what it is for."""
    return _sign(identity, text)


def verifies_text(public: bytes, text: str, signature: bytes) -> bool:
    try:
        bindings.crypto_sign_open(signature + text.encode(), public)
    except (BadSignatureError, ValueError):
        return False
    return len(signature) == SIGNATURE_BYTES


def _verifies(checkpoint: Checkpoint, signature: Signature, key: Key) -> bool:
    data, body = signature.data, checkpoint.body
    if key.kind == WITNESS:
        if len(data) != TIME_BYTES + SIGNATURE_BYTES:
            return False
        seconds, data = time_of(signature), data[TIME_BYTES:]
        if not 0 < seconds <= SECONDS_MAX:
            return False
        body = _timed(body, seconds)
    return verifies_text(key.public, body, data)


def _timed(body: str, seconds: int) -> str:
    return f"cosignature/v1\ntime {seconds}\n{body}"


def _sign(identity: Identity, text: str) -> bytes:
    signed = bindings.crypto_sign(text.encode(), identity.signing_secret)
    return signed[:SIGNATURE_BYTES]


def _is_name(text: str) -> bool:
    return bool(text) and text.isprintable() and "+" not in text and not any(map(str.isspace, text))


def read_number(text: str) -> int | None:
    """A number as notes have them; None for what is none."""
    if not text.isascii() or not text.isdigit() or len(text) > 19 or text != str(int(text)):
        return None
    return int(text) if int(text) <= SIZE_MAX else None


def to_base64(data: bytes) -> str:
    return b64encode(data).decode()


def from_base64(text: str) -> bytes | None:
    """Of the one text that stands for it only."""
    try:
        data = b64decode(text, validate=True)
    except (Base64Error, ValueError):
        return None
    return data if to_base64(data) == text else None
