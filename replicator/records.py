"""From what the name servers hold to what travels, and back.

Names are the same on both sides with three differences. Extents stay at home: where bytes are is
each DC's own business. Secrets of access keys are encrypted at rest with the DC's own key, so the
sender opens them and seals them to the receiver, and the receiver opens them and encrypts them
with its own; in both forms a secret is bound to its user and key, so a record with a secret moved
to another user does not open. And a change that its sender cannot read (a damaged secret) travels
as an `UnreadableRecord`, for it must not be stepped over.
"""

from awscrt.checksums import crc64nvme
from msgspec.structs import asdict

from dc.accounts import secret_context
from dc.names.backlog import made_by
from dc.names.model import (
    AccessKey,
    Bucket,
    Change,
    Conflict,
    Encryption,
    Extent,
    Kind,
    Meta,
    Part,
    Register,
    Registers,
    Site,
    Tombstone,
    User,
    Version,
)
from dc.objects.format import IDENT_MAX_BYTES
from dc.objects.ident import body_ident, version_ident
from dc.placement import elsewhere
from dc.stamps import Stamp
from replicator import wire
from replicator.errors import BodyCorrupt, ReplicatorError, WireError, printable
from tokens.errors import SecretError
from tokens.identity import Identity
from tokens.sealed import seal, unseal
from tokens.secret_store import SecretStore

_NO_EXTENTS: list[Extent] = []


class Sealer:
    """Turns secrets at rest into secrets for one peer, and secrets from peers into ours."""

    def __init__(self, identity: Identity, store: SecretStore) -> None:
        self._identity = identity
        self._store = store

    def outgoing(self, key: AccessKey, sealing_key: bytes) -> bytes:
        """SecretError when the stored secret does not open."""
        if not key.secret:
            return b""
        context = secret_context(key.user, key.id)
        return seal(sealing_key, self._store.decrypt(key.secret, context), context)

    def incoming(self, record: wire.AccessKeyRecord) -> bytes:
        """SecretError when it was not sealed to this DC, for this user and key."""
        if not record.secret:
            return b""
        context = secret_context(record.user, record.id)
        return self._store.encrypt(unseal(self._identity, record.secret, context), context)


def is_from(change: Change, dc_id: str) -> bool:
    """Whether a change was made in that DC, and all of it, so that it has it."""
    return made_by(change) == dc_id


def body_in(change: Change) -> Version | None:
    """The version whose bytes belong to a change."""
    version = change.loser if isinstance(change, Conflict) and not change.gone else change
    if isinstance(version, Version) and version.kind == Kind.OBJECT and version.size:
        return version
    return None


def body_asked(record: wire.Record) -> wire.VersionRecord | None:
    """The same of a record: what to fetch the bytes for, if they did not come along."""
    if type(record) is wire.ConflictRecord:
        return None if record.gone or is_bare(record.loser) else record.loser
    return record if type(record) is wire.VersionRecord and not is_bare(record) else None


def outgoing(
    seq: int, change: Change, body: bytes | None, sealer: Sealer, sealing_key: bytes
) -> wire.Record:
    """The record that tells a peer of a change."""
    match change:
        case Version():
            return _outgoing_version(seq, change, body)
        case Tombstone():
            return wire.TombstoneRecord(
                seq=seq,
                bucket=change.bucket,
                key=change.key,
                vid=change.vid,
                stamp=change.stamp,
                seen=change.seen,
            )
        case Conflict():
            loser = _outgoing_version(seq, change.loser, body)
            return wire.ConflictRecord(seq=seq, loser=loser, winner=change.winner, gone=change.gone)
        case Site():
            return wire.SiteRecord(
                seq=seq,
                dc_id=change.dc_id,
                name=change.name,
                region=change.region,
                stamp=change.stamp,
            )
        case Bucket():
            return wire.BucketRecord(
                seq=seq,
                id=change.id,
                name=change.name,
                owner=change.owner,
                region=change.region,
                created=change.created,
                deleted=change.deleted,
                revived=change.revived,
                registers=_wire_registers(change.registers),
            )
        case User():
            return wire.UserRecord(
                seq=seq,
                id=change.id,
                email=change.email,
                stamp=change.stamp,
                deleted=change.deleted,
            )
        case AccessKey():
            return _outgoing_key(seq, change, sealer, sealing_key)


def _outgoing_version(seq: int, version: Version, body: bytes | None) -> wire.VersionRecord:
    return wire.VersionRecord(
        seq=seq,
        bucket=version.bucket,
        key=version.key,
        vid=version.vid,
        stamp=version.stamp,
        kind=version.kind,
        size=version.size,
        etag=version.etag,
        meta=_wire_meta(version.meta),
        seen=version.seen,
        registers=_wire_registers(version.registers),
        body=body,
    )


def _outgoing_key(seq: int, key: AccessKey, sealer: Sealer, sealing_key: bytes) -> wire.Record:
    try:
        secret = sealer.outgoing(key, sealing_key)
    except SecretError as error:
        return wire.UnreadableRecord(seq=seq, what=f"access key {key.id}", reason=printable(error))
    return wire.AccessKeyRecord(
        seq=seq, id=key.id, user=key.user, secret=secret, stamp=key.stamp, deleted=key.deleted
    )


def incoming_version(record: wire.VersionRecord, extents: list[Extent]) -> Version:
    """The version that a record tells of; `extents` are where this DC has the body."""
    return Version(
        bucket=record.bucket,
        key=record.key,
        vid=record.vid,
        stamp=record.stamp,
        kind=Kind(record.kind),
        size=record.size,
        etag=record.etag,
        meta=_model_meta(record.meta),
        extents=extents,
        seen=record.seen,
        registers=_model_registers(record.registers),
    )


def incoming_write(
    record: wire.VersionRecord | wire.ConflictRecord, extents: list[Extent]
) -> Version | Conflict:
    """The change that a record with a body tells of; `extents` are where this DC has it."""
    if type(record) is wire.ConflictRecord:
        loser = incoming_version(record.loser, extents)
        return Conflict(loser=loser, winner=record.winner, gone=record.gone)
    assert type(record) is wire.VersionRecord
    return incoming_version(record, extents)


def incoming_absent(record: wire.Record, size: int) -> Version | Conflict:
    """The same, of a body of `size` bytes that other DCs hold."""
    assert isinstance(record, wire.VersionRecord | wire.ConflictRecord)
    return incoming_write(record, elsewhere(size))


def incoming(record: wire.Record, sealer: Sealer) -> Change:
    """The change that a record tells of, without its body."""
    match record:
        case wire.VersionRecord() | wire.ConflictRecord():
            return incoming_write(record, _NO_EXTENTS)
        case wire.TombstoneRecord():
            return Tombstone(
                bucket=record.bucket,
                key=record.key,
                vid=record.vid,
                stamp=record.stamp,
                seen=record.seen,
            )
        case wire.SiteRecord():
            return Site(
                dc_id=record.dc_id, name=record.name, region=record.region, stamp=record.stamp
            )
        case wire.BucketRecord():
            return Bucket(
                id=record.id,
                name=record.name,
                owner=record.owner,
                region=record.region,
                created=record.created,
                deleted=record.deleted,
                revived=record.revived,
                registers=_model_registers(record.registers),
            )
        case wire.UserRecord():
            return User(
                id=record.id, email=record.email, stamp=record.stamp, deleted=record.deleted
            )
        case wire.AccessKeyRecord():
            return AccessKey(
                id=record.id,
                user=record.user,
                secret=sealer.incoming(record),
                stamp=record.stamp,
                deleted=record.deleted,
            )
        case wire.UnreadableRecord():
            raise ReplicatorError(f"the peer cannot read {record.what}: {record.reason}")
    raise WireError("a record of no known kind")


def stamps(record: wire.Record) -> tuple[Stamp, ...]:
    """All stamps in a record: what the clock must observe before it is applied."""
    match record:
        case wire.BucketRecord():
            made = (record.created, record.deleted, record.revived)
            return (*filter(None, made), *_set_at(record.registers))
        case wire.VersionRecord():
            return (record.stamp, *_set_at(record.registers))
        case wire.ConflictRecord():
            return (*stamps(record.loser), record.winner)
        case wire.UnreadableRecord():
            return ()
        case _:
            return (record.stamp,)


def stamps_of(change: Change) -> tuple[Stamp, ...]:
    """All stamps in a change, as `stamps` finds them in its record."""
    match change:
        case Bucket():
            made = (change.created, change.deleted, change.revived)
            return (*filter(None, made), *(one.stamp for one in change.registers.values()))
        case Version():
            return (change.stamp, *(one.stamp for one in change.registers.values()))
        case Conflict():
            return (*stamps_of(change.loser), change.winner)
        case _:
            return (change.stamp,)


def _set_at(registers: wire.Registers) -> tuple[Stamp, ...]:
    return tuple(stamp for stamp, _ in registers.values())


def is_bare(record: wire.VersionRecord) -> bool:
    """Whether the version has no bytes."""
    return record.kind == Kind.DELETE_MARKER or record.size == 0


def check_body(record: wire.VersionRecord, body: bytes) -> None:
    """BodyCorrupt unless these are the bytes that were written in the origin."""
    if len(body) != record.size:
        raise BodyCorrupt(f"a body of {len(body)} bytes came, not of {record.size}")
    if crc64nvme(body) != record.meta.crc64:
        raise BodyCorrupt("the bytes that came do not have the object's CRC-64/NVME")


def ident_of(version: Version) -> bytes:
    """What is stored beside the bytes of a small body."""
    ident = version_ident(version)
    if len(ident) > IDENT_MAX_BYTES:
        return body_ident(version.bucket, version.key, version.vid, version.stamp)
    return ident


def range_ident(record: wire.VersionRecord, start: int) -> bytes:
    """What is stored beside a range of a large body: like a part numbered by its place."""
    return body_ident(record.bucket, record.key, record.vid, record.stamp, "replica", start)


def describe(record: wire.Record) -> str:
    """What a record is about, for a person; keys are shown as they are, quoted."""
    match record:
        case wire.VersionRecord():
            return f"version of {record.key!a} in bucket {record.bucket}"
        case wire.TombstoneRecord():
            return f"deletion of {record.key!a} in bucket {record.bucket}"
        case wire.ConflictRecord():
            return f"conflict of {record.loser.key!a} in bucket {record.loser.bucket}"
        case wire.SiteRecord():
            return f"DC {record.name!a}"
        case wire.BucketRecord():
            return f"bucket {record.name!a}"
        case wire.UserRecord():
            return f"user {record.email!a}"
        case wire.AccessKeyRecord():
            return f"access key {record.id}"
        case wire.UnreadableRecord():
            return ascii(record.what)[1:-1]
    raise WireError("a record of no known kind")


def _wire_registers(registers: Registers) -> wire.Registers:
    return {name: (one.stamp, one.value) for name, one in registers.items()}


def _model_registers(registers: wire.Registers) -> Registers:
    return {name: Register(stamp, value) for name, (stamp, value) in registers.items()}


def _wire_meta(meta: Meta) -> wire.Meta:
    return wire.Meta(
        content_type=meta.content_type,
        headers=meta.headers,
        user=meta.user,
        checksums=meta.checksums,
        checksum_type=meta.checksum_type,
        crc64=meta.crc64,
        parts=[wire.Part(part.number, part.size, part.etag, part.checksum) for part in meta.parts],
        sse=None if meta.sse is None else wire.Encryption(**asdict(meta.sse)),
        storage_class=meta.storage_class,
    )


def _model_meta(meta: wire.Meta) -> Meta:
    return Meta(
        content_type=meta.content_type,
        headers=meta.headers,
        user=meta.user,
        checksums=meta.checksums,
        checksum_type=meta.checksum_type,
        crc64=meta.crc64,
        parts=[Part(part.number, part.size, part.etag, part.checksum) for part in meta.parts],
        sse=None if meta.sse is None else Encryption(**asdict(meta.sse)),
        storage_class=meta.storage_class,
    )
