"""A second reader of logs and certificates, which shares no code with the first.

It was written from the texts alone: RFC 6962, section 2.1, whose recursive definitions it takes
word by word; C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-tiles; docs/notary.md for
the shape of a certificate. Simple beats fast here. Even Ed25519 comes from another library.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Fetch = Callable[[str], bytes | None]
"""Of a path below the log's prefix; None for what is not served."""
PLAIN, COSIGNATURE = 1, 4


class CheckFailed(Exception):
    """Base of all."""


class KeyDamaged(CheckFailed):
    """A line that is no verifier key."""


class NoteDamaged(CheckFailed):
    """Bytes that are no signed note."""


class CheckpointDamaged(CheckFailed):
    """A note that is no checkpoint."""


class NotSigned(CheckFailed):
    """No signature of the log by a known key."""


class SignatureFalse(CheckFailed):
    """A signature line of a known key that does not verify."""


class TooFewWitnesses(CheckFailed):
    """Fewer cosignatures of others than asked for."""


class OtherLog(CheckFailed):
    """A checkpoint of another log than it is to be."""


class CertificateDamaged(CheckFailed):
    """Bytes that are no certificate."""


class UnknownLog(CheckFailed):
    """A certificate of a log of which no key was given."""


class NotIncluded(CheckFailed):
    """An inclusion proof that does not give the root."""


class TimestampFalse(CheckFailed):
    """A timestamp that the log did not put there."""


class Missing(CheckFailed):
    """A checkpoint or tile that has to be served and is not."""


class Truncated(CheckFailed):
    """Fewer entries than the checkpoint says."""


class BundleDamaged(CheckFailed):
    """A bundle that is not a sequence of entries, or has too many."""


class TileDamaged(CheckFailed):
    """A tile of another length than it is to have."""


class EntryMismatch(CheckFailed):
    """An entry that does not hash to its place in the tile of level 0."""


class LevelMismatch(CheckFailed):
    """A tile that does not hash to its place in the tile above."""


class RootMismatch(CheckFailed):
    """Tiles that do not give the root of the checkpoint."""


class PartialMismatch(CheckFailed):
    """A partial tile or bundle that is not the beginning of the same one later."""


class Fork(CheckFailed):
    """Two checkpoints of which one does not continue the other."""


class Rollback(CheckFailed):
    """A later checkpoint of a smaller tree."""


# -- RFC 6962, section 2.1 ------------------------------------------------------------------------


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def leaf(d: bytes) -> bytes:
    """MTH({d(0)})."""
    return sha256(b"\x00" + d)


def node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right)


def largest_power_below(n: int) -> int:
    """k, such that k < n <= 2k."""
    k = 1
    while 2 * k < n:
        k = 2 * k
    return k


def mth(leaves: list[bytes]) -> bytes:
    """MTH(D[n]), of leaves that are hashed already."""
    n = len(leaves)
    if n == 0:
        return sha256(b"")
    if n == 1:
        return leaves[0]
    k = largest_power_below(n)
    return node(mth(leaves[:k]), mth(leaves[k:]))


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH(m, D[n]): section 2.1.1."""
    n = len(leaves)
    if n == 1:
        return []
    k = largest_power_below(n)
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def proof(m: int, leaves: list[bytes]) -> list[bytes]:
    """PROOF(m, D[n]): section 2.1.2."""
    return subproof(m, leaves, True)


def subproof(m: int, leaves: list[bytes], b: bool) -> list[bytes]:
    n = len(leaves)
    if m == n:
        return [] if b else [mth(leaves)]
    k = largest_power_below(n)
    if m <= k:
        return [*subproof(m, leaves[:k], b), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def root_of_path(m: int, n: int, hashed: bytes, given: list[bytes]) -> bytes:
    """The root that PATH(m, D[n]) gives, by its definition backwards. NotIncluded."""
    if n == 1:
        if given:
            raise NotIncluded("the proof is too long")
        return hashed
    if not given:
        raise NotIncluded("the proof is too short")
    k = largest_power_below(n)
    if m < k:
        return node(root_of_path(m, k, hashed, given[:-1]), given[-1])
    return node(given[-1], root_of_path(m - k, n - k, hashed, given[:-1]))


def roots_of_proof(m: int, n: int, old: bytes, given: list[bytes], b: bool = True) -> list[bytes]:
    """The roots of D[0:m] and D[n] that SUBPROOF(m, D[n], b) gives, by its definition backwards;
    `old` is that of D[0:m], which a proof may leave out. NotIncluded."""
    if m == n and b:
        if given:
            raise NotIncluded("the proof is too long")
        return [old, old]
    if not given or (m == n and len(given) > 1):
        raise NotIncluded("the proof has another length")
    if m == n:
        return [given[0], given[0]]
    k = largest_power_below(n)
    if m <= k:
        before, after = roots_of_proof(m, k, old, given[:-1], b)
        return [before, node(after, given[-1])]
    before, after = roots_of_proof(m - k, n - k, old, given[:-1], False)
    return [node(given[-1], before), node(given[-1], after)]


# -- C2SP signed-note -----------------------------------------------------------------------------


class Vkey(NamedTuple):
    name: str
    mark: bytes
    kind: int
    public: bytes


class Line(NamedTuple):
    name: str
    mark: bytes
    signature: bytes


class Note(NamedTuple):
    text: str
    lines: list[Line]


def strict_base64(text: str, error: type[CheckFailed]) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise error(f"{text[:40]!r} is no base64") from None
    if base64.b64encode(data).decode() != text:
        raise error(f"{text[:40]!r} is not the base64 of its bytes")
    return data


def is_name(text: str) -> bool:
    return bool(text) and "+" not in text and not any(c.isspace() for c in text)


def read_vkey(text: str) -> Vkey:
    parts = text.split("+", 2)
    if len(parts) != 3 or not is_name(parts[0]):
        raise KeyDamaged(text)
    name, mark, material = parts[0], parts[1], strict_base64(parts[2], KeyDamaged)
    if len(material) != 33 or material[0] not in (PLAIN, COSIGNATURE):
        raise KeyDamaged(f"{text}: no Ed25519 key")
    if sha256(name.encode() + b"\n" + material)[:4].hex() != mark:
        raise KeyDamaged(f"{text}: another key id")
    return Vkey(name, bytes.fromhex(mark), material[0], material[1:])


def read_note(data: bytes) -> Note:
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError:
        raise NoteDamaged("not UTF-8") from None
    if any(ord(c) < 0x20 and c != "\n" for c in note):
        raise NoteDamaged("control characters")
    at = note.rfind("\n\n")
    if at < 0 or not note.endswith("\n"):
        raise NoteDamaged("no empty line before signatures")
    text, rest = note[: at + 1], note[at + 2 :]
    lines = [read_line(one) for one in rest.split("\n")[:-1]]
    if not lines:
        raise NoteDamaged("no signatures")
    return Note(text, lines)


def read_line(line: str) -> Line:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "\u2014" or not is_name(parts[1]):
        raise NoteDamaged(f"{line!r} is no signature line")
    data = strict_base64(parts[2], NoteDamaged)
    if len(data) <= 4:
        raise NoteDamaged(f"{line!r} has no signature")
    return Line(parts[1], data[:4], data[4:])


def is_ed25519(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def signers(note: Note, vkeys: list[Vkey]) -> list[Vkey]:
    """The known keys that have signed, each once. SignatureFalse, NotSigned."""
    found = []
    for line in note.lines:
        for key in vkeys:
            if (key.name, key.mark) != (line.name, line.mark):
                continue
            message, signature = note.text.encode(), line.signature
            if key.kind == COSIGNATURE:
                seconds = int.from_bytes(signature[:8], "big")
                if seconds > 2**63 - 1:
                    raise SignatureFalse(f"{key.name}: a time after the end of time")
                message = f"cosignature/v1\ntime {seconds}\n".encode() + message
                signature = signature[8:]
            if not is_ed25519(key.public, signature, message):
                raise SignatureFalse(key.name)
            if key not in found:
                found.append(key)
    if not found:
        raise NotSigned("no signature by a known key")
    return found


# -- C2SP tlog-checkpoint, tlog-cosignature -------------------------------------------------------


class Head(NamedTuple):
    origin: str
    size: int
    root: bytes
    witnesses: list[str]


def read_head(text: str) -> Head:
    """The body of a checkpoint."""
    lines = text.split("\n")
    if len(lines) < 4 or not all(lines[:-1]) or lines[-1]:
        raise CheckpointDamaged("not three lines that are not empty")
    origin, size = lines[0], lines[1]
    if not (size.isascii() and size.isdigit()) or (size[0] == "0" and size != "0"):
        raise CheckpointDamaged(f"{size[:30]!r} is no tree size")
    root = strict_base64(lines[2], CheckpointDamaged)
    if len(root) != 32:
        raise CheckpointDamaged("the root is no SHA-256")
    return Head(origin, int(size), root, [])


def verify_checkpoint(data: bytes, vkeys: Iterable[str], witnesses: int = 0) -> Head:
    """What a checkpoint says that its log has signed, and so many others at least."""
    keys = [read_vkey(one) for one in vkeys]
    note = read_note(data)
    head = read_head(note.text)
    found = signers(note, keys)
    by_log = [key for key in found if key.kind == PLAIN and key.name == head.origin]
    if not by_log:
        raise NotSigned(f"not signed by {head.origin}")
    own = {key.public for key in by_log}
    others = {key.public: key.name for key in found if key.kind == COSIGNATURE}
    names = sorted(name for public, name in others.items() if public not in own)
    if len(names) < witnesses:
        raise TooFewWitnesses(f"{len(names)} of {witnesses}")
    return head._replace(witnesses=names)


# -- certificates ---------------------------------------------------------------------------------


def only(found: object, members: str) -> list:
    """The values of a JSON object that has these members, and no others."""
    names = members.split()
    if not isinstance(found, dict) or list(found) != names:
        raise CertificateDamaged(f"there are to be {members}")
    return [found[name] for name in names]


def listed(found: object) -> list:
    if not isinstance(found, list):
        raise CertificateDamaged("no list")
    return found


def unlike_twice(pairs: list[tuple[str, object]]) -> dict:
    if len({name for name, _ in pairs}) != len(pairs):
        raise CertificateDamaged("a member is there twice")
    return dict(pairs)


def read_json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=unlike_twice)
    except (ValueError, RecursionError):
        raise CertificateDamaged("no JSON") from None


def verify_certificate(data: bytes, vkeys: Iterable[str], witnesses: int = 0) -> dict:
    """The entry that a certificate shows to be in its datacenter's log."""
    vkeys = list(vkeys)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise CertificateDamaged("not UTF-8") from None
    form, line, index, statements = only(
        read_json(text), "farshore_certificate entry index statements"
    )
    if type(form) is not int or form != 1 or type(index) is not int or type(line) is not str:
        raise CertificateDamaged("another format")
    entry = read_json(line)
    if not isinstance(entry, dict) or entry.get("v") != 1:
        raise CertificateDamaged("the entry is none")
    origin = f"farshore/{entry.get('dc_id')}"
    logs = [key for key in map(read_vkey, vkeys) if (key.name, key.kind) == (origin, PLAIN)]
    if not logs:
        raise UnknownLog(origin)
    if not listed(statements):
        raise CertificateDamaged("no checkpoint")
    for number, statement in enumerate(statements):
        needed = 0 if number else witnesses
        check_statement(statement, origin, logs, vkeys, needed, index, leaf(line.encode()))
    return entry


def check_statement(
    statement: object,
    origin: str,
    logs: list[Vkey],
    vkeys: list[str],
    witnesses: int,
    index: int,
    hashed: bytes,
) -> None:
    note, given, timestamps = only(statement, "checkpoint proof timestamps")
    if type(note) is not str:
        raise CertificateDamaged("the checkpoint is no text")
    head = verify_checkpoint(note.encode(), vkeys, witnesses)
    if head.origin != origin:
        raise OtherLog(f"{head.origin}, not {origin}")
    hashes = [strict_base64(str(one), CertificateDamaged) for one in listed(given)]
    if not 0 <= index < head.size:
        raise NotIncluded("the tree is smaller")
    if root_of_path(index, head.size, hashed, hashes) != head.root:
        raise NotIncluded("another root")
    for one in listed(timestamps):
        kind, stamp, signature = map(str, only(one, "kind data signature"))
        stamped = sha256(strict_base64(stamp, CertificateDamaged)).hex()
        lines = ["farshore notary timestamp", origin, str(head.size), head.root.hex(), kind]
        signed = "".join(f"{line}\n" for line in [*lines, stamped]).encode()
        data = strict_base64(signature, CertificateDamaged)
        if not any(is_ed25519(key.public, data, signed) for key in logs):
            raise TimestampFalse(kind)
