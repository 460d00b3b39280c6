"""What the name servers know: buckets, users, keys, versions, uploads, and the change feed.

Every record that travels between DCs carries a stamp (`dc/stamps.py`), and merging two records of
one item is a join: delivery may repeat, reorder and take detours, and all DCs end alike.
`docs/convergence.md` has the rules.

- A **bucket** has an identity apart from its name: a hash of its owner and its name. The same
  owner making the same name in two DCs has thus made one bucket.
- A **version** is `(bucket, key, vid)`. `vid` is "" for the null version (all objects of a bucket
  that never had versioning), else the version id made from the stamp.
- A **tombstone** says that a `(bucket, key, vid)` was deleted for good. A null version written
  later takes the tombstone's place.
- A **conflict** keeps a null version that lost to one that had not seen it.
- **Users** are their canonical id; **keys** are their access key id. Deleted ones stay as records
  with `deleted`, and stay deleted.
- A **site** is what a DC says of itself.
- **Registers** hold attributes of versions and buckets (ACL, tags, versioning state ...), each with
  the stamp of its last change.
"""

import hashlib
from collections.abc import Sequence
from enum import IntEnum

import msgspec

from dc.rates import Terms
from dc.stamps import Stamp

NULL_VERSION = ""

DATA_KEYS = "encryption"
"""Who has the data keys (`dc/keyring.py`): no user, whose ids are 64 hex digits."""

Seen = str
"""Which writes of other DCs a write had seen: the last stamp of each, one after the other, ordered
by DC. `dc/names/seen.py` reads and makes them."""


class Kind(IntEnum):
    """What a version is."""

    OBJECT = 0
    DELETE_MARKER = 1


class Extent(msgspec.Struct, frozen=True, array_like=True):
    """Bytes in a container: `length` bytes of one record that begin at `offset`."""

    container: int
    offset: int
    length: int


class Part(msgspec.Struct, frozen=True, array_like=True):
    """A part of a completed multipart upload: what GET ?partNumber and replicas need."""

    number: int
    size: int
    etag: str
    checksum: str = ""


class Encryption(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the stored bytes of an object were encrypted (`docs/encryption.md`)."""

    kind: str
    """CUSTOMER, with a key that the client has; DATACENTER, with a data key."""
    key: str = ""
    """Of DATACENTER: which data key."""
    check: str = ""
    """Of CUSTOMER: what the key is recognised by."""
    nonces: list[str] = []
    """16 bytes in hex: of the object, or of each of its parts in their order."""
    crc64: int = 0
    """CRC-64/NVME of the object's bytes as clients see them."""


CUSTOMER = "customer"
DATACENTER = "datacenter"


class Meta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a client said about an object, and what we found out about its bytes."""

    checksums: dict[str, str] = {}
    """Algorithm (as in x-amz-checksum-*, lowercase) to base64, when the client gave or asked.
    It stands first in the stored JSON: listings look for it there (`dc/names/listing.py`)."""
    storage_class: str = msgspec.field(default="", name="class")
    """"" is STANDARD. It stands next, for the same reason."""
    content_type: str = ""
    headers: dict[str, str] = {}
    """Cache-Control, Content-Disposition, Content-Encoding, Content-Language, Expires."""
    user: dict[str, str] = {}
    """x-amz-meta-*, without the prefix."""
    checksum_type: str = ""
    """FULL_OBJECT or COMPOSITE, with `checksums`."""
    crc64: int = 0
    """CRC-64/NVME of all bytes as stored: what a replica is checked against, end to end."""
    parts: list[Part] = []
    sse: Encryption | None = None

    @property
    def plain_crc64(self) -> int:
        """CRC-64/NVME of the object's bytes as clients see them."""
        return self.crc64 if self.sse is None else self.sse.crc64


class Register(msgspec.Struct, frozen=True, array_like=True):
    """An attribute: what it was set to, and when. "" when it was taken away."""

    stamp: Stamp
    value: str


Registers = dict[str, Register]
"""By name."""


class Version(msgspec.Struct, frozen=True):
    """One version of an object, or a delete marker."""

    bucket: str
    key: str
    vid: str
    stamp: Stamp
    kind: Kind
    size: int
    etag: str
    """Without quotes."""
    meta: Meta
    extents: list[Extent]
    """Where the bytes are in this DC."""
    seen: Seen = ""
    """Of a write made here it is found in its transaction; what is given is not used."""
    registers: Registers = {}
    seq: int = 0
    """Its position in this DC's feed; only of what was read here."""


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket: when it was last created, deleted, and found to hold an object though deleted."""

    id: str
    name: str
    owner: str
    region: str
    created: Stamp
    deleted: Stamp = ""
    revived: Stamp = ""
    registers: Registers = {}

    @property
    def live(self) -> bool:
        return max(self.created, self.revived) > self.deleted

    @property
    def stamp(self) -> Stamp:
        """When it last came or went; not when a register changed."""
        return max(self.created, self.deleted, self.revived)


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user: 64 hex digits of canonical id, and an email address to find them by."""

    id: str
    email: str
    stamp: Stamp
    deleted: bool = False


class AccessKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key pair of a user, or a data key. `secret` is encrypted: at rest for this DC, in travel
    for the peer."""

    id: str
    user: str
    secret: bytes
    stamp: Stamp
    deleted: bool = False


class Tombstone(msgspec.Struct, frozen=True, kw_only=True):
    """`(bucket, key, vid)` deleted for good."""

    bucket: str
    key: str
    vid: str
    stamp: Stamp
    seen: Seen = ""
    again: bool = False
    """Told again, also to the DC that made it, since somebody has what it deletes."""


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """A null version that lost to a write which had not seen it, and which it had not seen."""

    loser: Version
    """Its `extents` are empty when it is `gone`."""
    winner: Stamp
    """Of the latest write that it lost to."""
    gone: bool = False
    """Restored, dropped, or kept for long enough."""

    @property
    def stamp(self) -> Stamp:
        return self.winner


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What a DC says of itself, to be known by name also where it is no peer."""

    dc_id: str
    name: str
    region: str
    stamp: Stamp


class Event(msgspec.Struct, frozen=True):
    """What somebody outside is to be told of a change (`dc/names/outbox.py`)."""

    topic: str
    """To whom."""
    payload: bytes


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """What must be so of what is there before a write. Of an ETag, without quotes, "*" is any."""

    match: tuple[str, ...] = ()
    """It has one of these ETags."""
    none_match: tuple[str, ...] = ()
    """Nothing is there, or what is there has none of these."""
    modified_s: int | None = None
    """It was written in that second since 1970."""
    size: int | None = None


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be deleted, if that may be."""

    change: Version | Tombstone
    """A delete marker to be put on top, or the tombstone of a version."""
    only_if: Condition | None = None
    """Of the version that the tombstone is for; before a delete marker, of the current one."""
    bypass: bool = False
    """Governance retention does not hinder it."""
    events: Sequence[Event] = ()
    """To be told if it is made."""
    lockable: bool = False
    """There may be locks in the bucket. What is not here may have one, so it is not deleted."""


class Outgoing(msgspec.Struct, frozen=True):
    """An event in the outbox; later ones have greater ids."""

    id: int
    event: Event


class OutboxState(msgspec.Struct, frozen=True):
    """`waiting` events are in the outbox; `lost` were not taken in because it was full."""

    waiting: int
    lost: int


Change = Version | Tombstone | Bucket | User | AccessKey | Conflict | Site


class FeedEntry(msgspec.Struct, frozen=True):
    """The state, read now, of an item that changed at position `seq` of this DC's feed."""

    seq: int
    change: Change


class Interval(msgspec.Struct, frozen=True, array_like=True, order=True):
    """All changes made in the DC `origin` with stamps from `low` to `high`, both included."""

    origin: str
    low: Stamp
    high: Stamp


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of how far a peer has taken our feed; it outlives restarts."""

    peer: str
    epoch: str
    acked: int
    """Everything up to here has taken effect there."""
    heard_ms: int
    """When it last said so, by this DC's wall clock."""


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What a stretch of the feed holds for a peer."""

    changes: int = 0
    bytes: int = 0
    """Of the objects among them."""
    oldest_ms: int = 0
    """When the oldest of them was made, in milliseconds since 1970; 0 when there is none."""
    first: int = 0
    """The position of the first of them; 0 when there is none."""
    looked: int = 0
    """The position up to which this has looked."""
    complete: bool = True
    """The feed ended there."""


class Known(IntEnum):
    """What this DC has of a write that it is told of."""

    NEW = 0
    """Applying it would change something, and its bytes are not here."""
    HELD = 1
    """To be applied without its bytes: it is here with them and its attributes may be news, or it
    was deleted here, which who tells of it has not heard."""
    PAST = 2
    """It was superseded here: applying it would change nothing."""


class LeafItem(msgspec.Struct, frozen=True, array_like=True):
    """An item in a leaf of a bucket's hash tree."""

    kind: int
    """As of feed rows: 0 and 1 versions, 3 conflicts, from 10 on buckets, users, keys, sites."""
    key: str
    vid: str
    """Of a conflict: the loser's stamp."""
    stamp: Stamp
    """Of a conflict: the winner's."""
    hash: str


class ItemState(msgspec.Struct, frozen=True, array_like=True):
    """What an item is now."""

    kind: int
    """As in `LeafItem`; 2 is a tombstone."""
    stamp: Stamp
    hash: str
    """"" of what is in no tree: a tombstone, a settled conflict."""
    seen: Seen


class Upload(msgspec.Struct, frozen=True):
    """A multipart upload in progress; it exists in this DC only."""

    id: str
    bucket: str
    key: str
    owner: str
    started: Stamp
    meta: Meta
    checksum_algorithm: str = ""
    checksum_type: str = ""
    attributes: dict[str, str] = {}
    """The registers that the object will be born with: texts by name."""


class Sealed(msgspec.Struct, frozen=True, array_like=True):
    """A body that was encrypted."""

    nonce: str
    crc64: int
    """CRC-64/NVME of the bytes before they were."""


class UploadPart(msgspec.Struct, frozen=True):
    """A part of an upload in progress."""

    number: int
    size: int
    etag: str
    stamp: Stamp
    crc64: int
    """Of the bytes as stored."""
    checksums: dict[str, str]
    extents: list[Extent]
    sealed: Sealed | None = None

    @property
    def plain_crc64(self) -> int:
        """Of the bytes as clients see them."""
        return self.crc64 if self.sealed is None else self.sealed.crc64


class SweptVersion(msgspec.Struct, frozen=True, array_like=True):
    """What lifecycle looks at of a version."""

    key: str
    vid: str
    stamp: Stamp
    kind: Kind
    size: int
    registers: Registers


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A paired DC, and how to reach it."""

    dc_id: str
    name: str
    region: str
    endpoints: list[str]
    """host:port of its peer listener, in the order to try."""
    fingerprint: str
    """SHA-256 of its TLS certificate (DER), 64 hex digits."""
    signing_key: bytes
    sealing_key: bytes
    paired: Stamp
    code: str = ""
    """The six digits for the operators to compare; "" when it was paired before they were kept."""
    terms: Terms = Terms()
    poll_seconds: int = 0
    """0: its feed is kept open. Else it is drawn when the doorbell rings, and so often at least."""
    by_files: bool = False
    """It was paired without a link: changes travel in files, and may take any time."""


class Cursor(msgspec.Struct, frozen=True):
    """How far this DC has taken a peer's feed: the position, and the feed's epoch when it was last
    opened."""

    epoch: str
    seq: int
    missed: bool = False
    """The peer had collected tombstones that this DC did not see, when the stream was opened: the
    two are to be compared, and until then what only this DC has may have been deleted."""


class Inboxed(msgspec.Struct, frozen=True, kw_only=True):
    """A change taken from a peer's feed that is not applied yet: its bytes are still to come, or
    applying it failed. It is stored in the transaction that moves the cursor past it, so it can
    neither be lost nor be stepped over."""

    peer: str
    seq: int
    change: bytes
    """The change as the replicator encoded it."""
    extents: list[tuple[int, Extent]] = []
    """Ranges of the body that are here already: (start in the body, where)."""
    attempts: int = 0
    next_try_ms: int = 0
    error: str = ""
    restoring: bool = False
    """It was found to lack here though the feed is past it: see `Names.apply`."""


def bucket_id(owner: str, name: str) -> str:
    """The identity of a bucket: 16 hex digits of SHA-256 over owner and name."""
    return hashlib.sha256(f"{owner}\0{name}".encode()).hexdigest()[:16]
