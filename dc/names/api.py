"""The interface of the name servers: what gateways, replicators and the admin API may ask.

`dc/names/service.py` implements it on SQLite in this process; a remote form will speak it over the
network. Everything is durable when a call that changes something returns. A call that is cancelled
may or may not take effect.

`directory` is a complete copy, in memory and always current in this process, of what every request
needs (buckets, users, keys).
"""

from collections.abc import Sequence
from typing import Protocol

from dc.names.directory_api import Directory as Directory
from dc.names.elsewhere import Elsewhere
from dc.names.errors import (
    BucketExists as BucketExists,
)
from dc.names.errors import (
    BucketNotEmpty as BucketNotEmpty,
)
from dc.names.errors import (
    BytesMissing as BytesMissing,
)
from dc.names.errors import (
    NamesClosed as NamesClosed,
)
from dc.names.errors import (
    NamesError as NamesError,
)
from dc.names.errors import (
    NamesFull as NamesFull,
)
from dc.names.errors import (
    NoSuchBucket as NoSuchBucket,
)
from dc.names.errors import (
    NoSuchConflict as NoSuchConflict,
)
from dc.names.errors import (
    NoSuchKey as NoSuchKey,
)
from dc.names.errors import (
    NoSuchPeer as NoSuchPeer,
)
from dc.names.errors import (
    NoSuchUpload as NoSuchUpload,
)
from dc.names.errors import (
    NoSuchUser as NoSuchUser,
)
from dc.names.errors import (
    NoSuchVersion as NoSuchVersion,
)
from dc.names.errors import (
    NothingToMatch as NothingToMatch,
)
from dc.names.errors import (
    ObjectLocked as ObjectLocked,
)
from dc.names.errors import (
    PeerExists as PeerExists,
)
from dc.names.errors import (
    PreconditionFailed as PreconditionFailed,
)
from dc.names.errors import (
    StampTooOld as StampTooOld,
)
from dc.names.errors import (
    TokenUsed as TokenUsed,
)
from dc.names.errors import (
    TooManyKeys as TooManyKeys,
)
from dc.names.errors import (
    TooManyWaiting as TooManyWaiting,
)
from dc.names.errors import (
    UserExists as UserExists,
)
from dc.names.event_cursor import EventCursor
from dc.names.exchanges import Exchanges
from dc.names.gateway_api import GatewayNames as GatewayNames
from dc.names.journal_api import JournalNames
from dc.names.knowledge import Knowledge
from dc.names.model import (
    AccessKey,
    Backlog,
    Change,
    Conflict,
    Cursor,
    FeedEntry,
    Inboxed,
    Interval,
    ItemState,
    Known,
    LeafItem,
    Peer,
    User,
    Version,
)
from dc.names.news import News
from dc.names.notary_outbox import NotaryOutbox
from dc.names.outbox import Outbox
from dc.names.places import Places
from dc.names.sweep import Sweeper
from dc.names.unshipped import Unshipped
from dc.rates import Terms
from dc.stamps import HybridClock, Stamp


class Names(GatewayNames, Protocol):
    """The name servers of one DC."""

    clock: HybridClock
    knowledge: Knowledge
    """Epochs, coverage, and how far peers have taken the feed."""
    outbox: Outbox
    """What the world outside is to be told: the `events` of a change are put there with it."""
    notary_outbox: NotaryOutbox
    """What the notary is to make entries of."""
    event_cursor: EventCursor
    """How far the feed was told as events."""
    unshipped: Unshipped
    """Writes that peers had not taken when they were lost."""
    sweeper: Sweeper
    """Goes through all versions of a bucket."""
    elsewhere: Elsewhere
    """What is known here and held by other DCs only."""
    exchanges: Exchanges
    """What went to peers and came from them in files."""
    news: News
    """Whether what others have is to be shown here."""
    places: Places
    """Which containers are pointed into; moves names to other bytes."""
    journal: JournalNames
    """What the names could be made again from, if they were lost."""

    @property
    def epoch(self) -> str:
        """The name of the feed since the last start."""
        ...

    async def known(self, writes: Sequence[Version | Conflict]) -> list[Known]:
        """What this DC has of each write; `extents` are not looked at. One hop for all."""
        ...

    # -- users --------------------------------------------------------------------------------

    async def add_user(self, user: User, key: AccessKey) -> None:
        """UserExists when the email or the id is taken."""
        ...

    async def delete_user(self, user_id: str) -> None:
        """NoSuchUser. Its keys end with it; its buckets stay."""
        ...

    async def add_key(self, key: AccessKey) -> None:
        """NoSuchUser; TooManyKeys at two."""
        ...

    async def revoke_key(self, key_id: str) -> None:
        """NoSuchKey."""
        ...

    # -- the change feed ----------------------------------------------------------------------

    @property
    def feed_end(self) -> int:
        """The position of the last committed change."""
        ...

    async def feed(self, after: int, limit: int) -> tuple[list[FeedEntry], int, bool]:
        """The items that changed at positions after `after`, each at its last position only, as
        they are now, in order; the position up to which this has looked (`after` of the next
        call); and whether that was the feed's end when it looked. An item that changes while it is
        read is left out: it comes again later."""
        ...

    async def backlog(self, peer: str, after: int, limit: int) -> Backlog:
        """What the feed holds for a peer at positions after `after`; of about `limit` positions."""
        ...

    async def backlog_at(self, peer: str, positions: Sequence[int]) -> Backlog:
        """What it holds for a peer at just these positions."""
        ...

    async def feed_wait(self, after: int) -> None:
        """Return when there is a position after `after`."""
        ...

    async def apply(
        self,
        changes: Sequence[Change],
        *,
        peer: str = "",
        cursor: Cursor | None = None,
        inbox: Sequence[Inboxed] = (),
        done: Sequence[int] = (),
        restoring: bool = False,
    ) -> None:
        """Merge changes made elsewhere; in the same transaction move the cursor of `peer`, put
        what is not finished into its inbox and take the positions `done` out of it. A change that
        is in the inbox already keeps what is here of its body, and is tried anew. The stamps
        must have been observed by `clock`. Buckets of versions need not exist or be live.

        A version without extents is a write that is HELD here (`known`); BytesMissing when it is
        not. One that is not here, but covered, becomes a tombstone, unless `restoring`: then it
        was lost here, not deleted. A version that is here with other content under the same stamp
        is damaged, and replaced when `restoring`."""
        ...

    # -- conflicts ----------------------------------------------------------------------------

    async def conflicts(
        self, *, bucket_id: str = "", after: tuple[str, str, str] = ("", "", ""), limit: int = 1000
    ) -> list[Conflict]:
        """Those that are not gone, of one bucket or of all, by (bucket id, key, loser's stamp),
        those after `after` only."""
        ...

    async def conflict(self, bucket_id: str, key: str, stamp: Stamp) -> Conflict | None:
        """The conflict of the loser with that stamp, also when it is gone."""
        ...

    async def conflicts_of(self, bucket_id: str, stamps: Sequence[Stamp]) -> list[Conflict]:
        """Those of a bucket whose losers have these stamps, also when they are gone."""
        ...

    async def conflict_count(self) -> int: ...

    async def drop_conflict(self, bucket_id: str, key: str, stamp: Stamp) -> None:
        """Keep the loser no longer: NoSuchConflict."""
        ...

    async def restore_conflict(self, bucket_id: str, key: str, stamp: Stamp) -> Version:
        """Write the loser again, as a new version, in the same transaction that ends the
        conflict: NoSuchConflict, NoSuchBucket, BytesMissing when other DCs hold its bytes."""
        ...

    # -- hash trees ---------------------------------------------------------------------------

    def roots(self) -> dict[str, str]:
        """The root of each bucket's tree by bucket id, 32 hex digits, without empty ones; "" is
        the tree of buckets, users, keys and sites."""
        ...

    def leaves(self, bucket_id: str) -> bytes:
        """All leaves of a tree: `dc.names.trees.TREE_BYTES`."""
        ...

    async def leaf_items(
        self, bucket_id: str, leaves: frozenset[int], after: str, limit: int
    ) -> tuple[list[LeafItem], str]:
        """The items in these leaves by key, those of about `limit` keys after `after`; and what to
        go on after, "" at the end. Of the directory all at once."""
        ...

    async def states(
        self, bucket_id: str, items: Sequence[tuple[int, str, str]]
    ) -> list[ItemState | None]:
        """What each item is now, by the (kind, key, vid) that `leaf_items` told. A version's kind
        may be any of 0, 1 and 2, there and here: it is one item."""
        ...

    async def item_counts(self, bucket_id: str = "") -> dict[str, int]:
        """How many items are in a bucket's tree, of one bucket or of all, by bucket id."""
        ...

    async def records(
        self, bucket_id: str, items: Sequence[tuple[int, str, str]]
    ) -> list[FeedEntry]:
        """What items are now, by the (kind, key, vid) that `leaf_items` told; what is not here is
        left out."""
        ...

    # -- what is known, and chores ------------------------------------------------------------

    async def put_site(self, name: str, region: str) -> Stamp:
        """Say anew what this DC is called: a change with this stamp."""
        ...

    def coverage(self) -> list[Interval]: ...

    def cover(self, intervals: Sequence[Interval]) -> None:
        """All changes in these intervals are reflected here."""
        ...

    async def upkeep(self) -> bool:
        """What is to be done a few times a minute: raise the floor, store what is known, settle
        old conflicts, collect tombstones. Whether there is more to collect at once."""
        ...

    # -- peers --------------------------------------------------------------------------------

    async def add_peer(self, peer: Peer, token_id: str = "", token_expires: int = 0) -> None:
        """PeerExists when a peer of another id has the name; the same id replaces, and keeps its
        terms. With a token id: TokenUsed when it was used, unless by this very peer; marks it used
        until it expires (epoch seconds)."""
        ...

    async def set_terms(self, dc_id: str, terms: Terms) -> None:
        """How fast bytes may go between here and a peer: NoSuchPeer."""
        ...

    async def remove_peer(self, dc_id: str) -> None:
        """NoSuchPeer. Forgets cursor and inbox too."""
        ...

    async def token_used(self, token_id: str) -> bool:
        """Whether a pairing token was used here."""
        ...

    async def cursor(self, peer: str) -> Cursor | None: ...

    async def inbox(
        self,
        peer: str,
        *,
        due_ms: int | None = None,
        after: int = 0,
        limit: int = 100,
        failing: bool = False,
    ) -> list[Inboxed]:
        """What is not finished of a peer's changes at positions after `after`, oldest first; with
        `due_ms` only what is to be tried by then, with `failing` only what was tried in vain."""
        ...

    async def inbox_open(
        self, peer: str, limit: int, failing_max: int
    ) -> tuple[list[int], list[tuple[int, str]], int]:
        """The lowest positions that are not finished; the lowest that were tried in vain, with the
        reasons; how many of these there are."""
        ...

    async def inbox_update(self, entries: Sequence[Inboxed]) -> None:
        """Store progress or a failure of entries; those taken out meanwhile stay out."""
        ...

    async def inbox_state(self, peer: str) -> tuple[int, int]:
        """(how many, lowest position or 0)."""
        ...

    async def close(self) -> None: ...
