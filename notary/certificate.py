"""Certificates: made of a log, read, and verified with nothing but public keys.

docs/notary.md has the shape. A certificate has one text for each content: one in which a single
byte was changed is refused, with a reason of its own for each part of it.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from notary import tables, tree
from notary.entries import STORED, Entry, read_entry
from notary.errors import CertificateRefused, NotaryError, NoteInvalid
from notary.note import (
    LOG,
    WITNESS,
    Checkpoint,
    Key,
    from_base64,
    is_signed,
    origin_of,
    read_checkpoint,
    time_of,
    to_base64,
    verifies_text,
)
from notary.tables import Place, Timestamp

FORMAT = 1
CERTIFICATE_BYTES_MAX = 8 << 20
TIMESTAMP_BYTES_MAX = 256 << 10
_BLOCK = 1 << 20


class Stamped(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A timestamp as it stands in a certificate, in base64."""

    kind: str
    data: str
    signature: str


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A checkpoint, and that the entry is under it."""

    checkpoint: str
    proof: list[str]
    timestamps: list[Stamped]


class Certificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    farshore_certificate: int
    entry: str
    index: int
    statements: list[Statement]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Certificate).decode


def encode(certificate: Certificate) -> bytes:
    return msgspec.json.format(_encode(certificate), indent=1) + b"\n"


def timestamp_text(origin: str, size: int, root: bytes, kind: str, data: bytes) -> str:
    """What the log signs of a timestamp: what it is of, and what it is."""
    parts = (origin, str(size), root.hex(), kind, hashlib.sha256(data).hexdigest())
    return "\n".join(("farshore notary timestamp", *parts)) + "\n"


# -- making -------------------------------------------------------------------------------------


def certificate_of(db: sqlite3.Connection, place: Place) -> bytes | None:
    """The certificate of an entry; None while no published checkpoint covers it."""
    log, index = place
    best = tables.best_checkpoint(db, log.number, index) if place.is_sealed else None
    if best is None:
        return None
    by_size: dict[int, list[Timestamp]] = {best.size: []}
    for one in tables.first_timestamps(db, log.number, index):
        by_size.setdefault(one.size, []).append(one)
    read = tables.tiles_of(db, log.number)
    statements = []
    for size in sorted(by_size, key=lambda size: (size != best.size, size)):
        checkpoint = tables.checkpoint_at(db, log.number, size)
        if checkpoint is not None:
            statements.append(_statement(read, checkpoint, index, by_size[size]))
    entry = tables.page(db, log.number, index, index + 1)[0].decode()
    found = Certificate(
        farshore_certificate=FORMAT, entry=entry, index=index, statements=statements
    )
    return encode(found)


def _statement(
    read: tree.Reader, checkpoint: Checkpoint, index: int, timestamps: Sequence[Timestamp]
) -> Statement:
    proof = tree.inclusion_proof(read, index, checkpoint.size)
    return Statement(
        checkpoint=str(checkpoint),
        proof=[to_base64(one) for one in proof],
        timestamps=[
            Stamped(kind=one.kind, data=to_base64(one.data), signature=to_base64(one.signature))
            for one in timestamps
        ],
    )


# -- verifying ----------------------------------------------------------------------------------


class Policy(NamedTuple):
    """What is asked of a certificate."""

    keys: Sequence[Key]
    """Of logs and witnesses that are trusted."""
    witnesses: int = 0
    """How many other DCs at least have to have cosigned."""
    bucket: str = ""
    """It is to be of that bucket, key and version; "" for any. `version_id`: "null" of that."""
    key: str = ""
    version_id: str = ""


class Witnessed(NamedTuple):
    """A cosignature that was verified."""

    name: str
    seconds: int


class Shown(NamedTuple):
    """A timestamp, as far as it was looked into."""

    kind: str
    size: int
    data: bytes
    root: bytes
    body: str
    """Of the checkpoint."""


class Verified(NamedTuple):
    """What a certificate shows."""

    entry: Entry
    position: int
    size: int
    """Of the tree of the first statement."""
    origin: str
    witnesses: list[Witnessed]
    unknown: list[str]
    """The names of signers of whom no key was given."""
    timestamps: list[Shown]


def read_certificate(data: bytes) -> Certificate:
    """CertificateRefused."""
    if len(data) > CERTIFICATE_BYTES_MAX:
        raise CertificateRefused("damaged", "the file is too long for a certificate")
    try:
        found = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CertificateRefused("damaged", f"the file is no certificate: {error}") from None
    if found.farshore_certificate != FORMAT:
        raise CertificateRefused(
            "format",
            f"the certificate has format {found.farshore_certificate}, this farshore reads"
            f" {FORMAT}: use the one that made it",
        )
    if encode(found) != data:
        raise CertificateRefused("damaged", "the certificate was written by something else")
    if not found.statements:
        raise CertificateRefused("checkpoint", "the certificate has no checkpoint")
    return found


def verify(data: bytes, policy: Policy) -> Verified:
    """What a certificate shows, by keys that are trusted. CertificateRefused."""
    certificate = read_certificate(data)
    try:
        entry = read_entry(certificate.entry.encode())
    except NotaryError as error:
        raise CertificateRefused("entry", f"the entry was changed: {error}") from None
    origin = origin_of(entry.dc_id)
    logs = [key for key in policy.keys if key.kind == LOG and key.name == origin]
    if not logs:
        raise CertificateRefused(
            "unknown-dc",
            f"the certificate is of the datacenter {entry.dc!r} ({entry.dc_id}), of which no key"
            " was given: ask its operator for `farshore notary keys`",
        )
    leaf = tree.leaf_hash(certificate.entry.encode())
    found = [
        _check_statement(one, certificate.index, leaf, logs, policy.keys)
        for one in certificate.statements
    ]
    _check_order(certificate.statements, [one[0] for one in found])
    first, witnesses, unknown, _ = found[0]
    _check_subject(entry, policy)
    if len(witnesses) < policy.witnesses:
        raise CertificateRefused(
            "witnesses",
            f"{len(witnesses)} of the other datacenters whose keys were given have cosigned the"
            f" checkpoint, {policy.witnesses} are asked for",
        )
    shown = [one for each in found for one in each[3]]
    return Verified(entry, certificate.index, first.size, origin, witnesses, unknown, shown)


def _check_statement(
    statement: Statement, index: int, leaf: bytes, logs: Sequence[Key], keys: Sequence[Key]
) -> tuple[Checkpoint, list[Witnessed], list[str], list[Shown]]:
    try:
        checkpoint = read_checkpoint(statement.checkpoint)
    except NoteInvalid as error:
        raise CertificateRefused("checkpoint", f"the checkpoint was changed: {error}") from None
    if checkpoint.with_signatures(()) != checkpoint:
        raise CertificateRefused("checkpoint", "the checkpoint's signatures are in another order")
    if checkpoint.origin != logs[0].name:
        raise CertificateRefused(
            "origin",
            f"the entry is of {logs[0].name}, the checkpoint of another log: {checkpoint.origin}",
        )
    try:
        by_log = any(is_signed(checkpoint, key) for key in logs)
    except NoteInvalid as error:
        raise CertificateRefused(
            "signature", f"the checkpoint was changed, or its signature: {error}"
        ) from None
    if not by_log:
        raise CertificateRefused(
            "signature",
            "the checkpoint is not signed by the datacenter with the key that was given",
        )
    proof = [_unbase64(one, "proof") for one in statement.proof]
    if not tree.verify_inclusion(leaf, index, checkpoint.size, proof, checkpoint.root):
        raise CertificateRefused(
            "proof",
            "the entry is not in the log where the certificate says: the entry, its index or the"
            " proof was changed",
        )
    witnesses, unknown = _witnesses(checkpoint, logs, keys)
    return checkpoint, witnesses, unknown, _timestamps(statement, checkpoint, logs)


def _witnesses(
    checkpoint: Checkpoint, logs: Sequence[Key], keys: Sequence[Key]
) -> tuple[list[Witnessed], list[str]]:
    """Each other DC once, whatever names its key has; a log is no witness of itself."""
    found: dict[bytes, Witnessed] = {}
    unknown = []
    by_name = {(key.name, key.id): key for key in keys if key.kind == WITNESS}
    for one in checkpoint.witnesses:
        key = by_name.get((one.name, one.id))
        if key is None:
            unknown.append(one.name)
            continue
        try:
            is_signed(checkpoint, key)
        except NoteInvalid as error:
            raise CertificateRefused("cosignature", f"a cosignature was changed: {error}") from None
        found.setdefault(key.public, Witnessed(one.name, time_of(one)))
    for log in logs:
        found.pop(log.public, None)
    return list(found.values()), unknown


def _check_order(statements: Sequence[Statement], checkpoints: Sequence[Checkpoint]) -> None:
    """Whether the statements are in the order in which `certificate_of` puts them, none twice."""
    ranks = [(-len(one.witnesses), one.size) for one in checkpoints]
    sizes = [one.size for one in checkpoints]
    kinds = [[stamped.kind for stamped in one.timestamps] for one in statements]
    if (
        ranks[0] != min(ranks)
        or sizes[1:] != sorted(set(sizes) - {sizes[0]})
        or any(one != sorted(set(one)) for one in kinds)
        or not all(kinds[1:])
    ):
        raise CertificateRefused(
            "statements", "checkpoints or timestamps in the certificate were moved or are missing"
        )


def _timestamps(statement: Statement, checkpoint: Checkpoint, logs: Sequence[Key]) -> list[Shown]:
    shown = []
    for one in statement.timestamps:
        data = _unbase64(one.data, "timestamp")
        text = timestamp_text(checkpoint.origin, checkpoint.size, checkpoint.root, one.kind, data)
        signature = _unbase64(one.signature, "timestamp")
        if not any(verifies_text(key.public, text, signature) for key in logs):
            raise CertificateRefused(
                "timestamp", f"the {one.kind[:40]} timestamp was changed, or is of something else"
            )
        shown.append(Shown(one.kind, checkpoint.size, data, checkpoint.root, checkpoint.body))
    return shown


def _check_subject(entry: Entry, policy: Policy) -> None:
    for what, wanted, given in (
        ("bucket", policy.bucket, entry.bucket),
        ("key", policy.key, entry.key or ""),
        ("version", policy.version_id, entry.version_id or ""),
    ):
        if wanted and wanted != given:
            raise CertificateRefused(
                f"other-{what}", f"the certificate is of the {what} {given!r}, not of {wanted!r}"
            )


def check_file(entry: Entry, path: Path, said: Callable[[int], None] = lambda _: None) -> None:
    """Whether a file has the bytes that an entry is of: CertificateRefused. OSError. `said`: told
    of bytes that were read."""
    digest, size = hashlib.sha256(), 0
    if entry.type != "version":
        raise CertificateRefused("no-object", f"the certificate is of no object: {entry.type}")
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
            said(len(block))
    if digest.hexdigest() == entry.sha256 and size == entry.size:
        return
    if entry.of == STORED:
        raise CertificateRefused(
            "file",
            f"{path} is not what is certified: that are the bytes as they were stored, encrypted"
            " with the client's key",
        )
    if size != entry.size:
        raise CertificateRefused(
            "file", f"{path} was changed: it has {size} bytes, {entry.size} are certified"
        )
    raise CertificateRefused(
        "file",
        f"{path} was changed: its SHA-256 is {digest.hexdigest()}, {entry.sha256} is certified",
    )


def _unbase64(text: str, reason: str) -> bytes:
    data = from_base64(text)
    if not data:
        raise CertificateRefused(reason, f"a {reason} in the certificate was changed")
    return data
