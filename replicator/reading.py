"""Reading from other DCs what is not here, for clients that wait: `dc.read_through.Others`.

Connected peers are asked, at once, and answer by what they have themselves. What one says is
checked: that it can be the answer, that its stamp is not ahead of the clock, and above all that it
is news here (`dc/names/news.py`), so that nothing comes back which was deleted here.

Bytes come from the DC where the object was written, then from those that the rules of the bucket
name, then from any other; the next is asked when one has not begun to give within its share of the
time. A range is followed by its CRC, and its last piece is held back until that is right. A whole
object must have its own CRC besides: whoever gives it need not be believed. Of a range there is
only the giver's word.

What is asked, and the bodies under way, are bounded in number; no more is asked beyond.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import Any, TypeVar, cast

import aiohttp
import structlog
from awscrt.checksums import crc64nvme

from dc.names.model import Kind, Version
from dc.names.news import ToldOf
from dc.names.pages import ListedVersion, Page, VersionPage
from dc.objects.api import CorruptData, MissingData
from dc.placement import elsewhere, placement
from dc.ports import Buffer
from dc.read_through import Found, NotGiven, Passing, Told, ToldVersions, TooManyAsked
from dc.stamps import Stamp, StampAhead, stamp_origin
from dc.worker import TaskGroup, spawn
from replicator import messages, wire
from replicator import reading_wire as shapes
from replicator.errors import BodyCorrupt, BodyUnavailable, ReplicatorError, WireError, printable
from replicator.home import Home
from replicator.limits import (
    LIST_KEYS_MAX,
    MIB,
    NEWS_PAGES_MAX,
    PREFIXES_AT_ONCE,
    READ_ASKED_MAX,
    READ_BODIES_MAX,
    READ_FIRST_SECONDS,
    READ_NAMES_SECONDS,
)
from replicator.link import Link
from replicator.peers import Peers
from replicator.records import incoming_version

log = structlog.get_logger("reading")
T = TypeVar("T")
CRC_BYTES = 8
_BROKEN = (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError)
"""What ends a connection, besides a ReplicatorError."""


class _Under:
    """How much is under way of something."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.count = 0

    def check(self) -> None:
        if self.count >= self._most:
            raise TooManyAsked(f"{self.count} are under way")

    @contextmanager
    def one(self) -> Iterator[None]:
        """TooManyAsked."""
        self.check()
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


class Reading:
    """Of one DC."""

    def __init__(self, home: Home, peers: Peers) -> None:
        self._home = home
        self._peers = peers
        self._asked = _Under(READ_ASKED_MAX)
        self._bodies = _Under(READ_BODIES_MAX)

    def _links(self) -> tuple[list[Link], list[str]]:
        """The links that may be asked, and the names of the peers that cannot be."""
        links = {link.peer.dc_id: link for link in self._peers.links() if link.inbound.connected}
        away = [one.name for one in self._home.names.peers() if one.dc_id not in links]
        return list(links.values()), away

    async def _ask_all(
        self, asks: Mapping[str, Awaitable[T]], away: list[str], what: str
    ) -> tuple[dict[str, T], list[str]]:
        """The answers that come in time, by the names of the datacenters; the names of the
        others."""
        tasks = {name: spawn(_of(ask), f"{what} at {name}") for name, ask in asks.items()}
        try:
            if tasks:
                await asyncio.wait(tasks.values(), timeout=READ_NAMES_SECONDS)
            answers: dict[str, T] = {}
            for name, task in tasks.items():
                answer = task.result() if task.done() else TimeoutError("not in time")
                if isinstance(answer, Exception):
                    log.info("a peer did not answer", peer=name, what=what, error=printable(answer))
                    away.append(name)
                else:
                    answers[name] = answer
        finally:
            for task in tasks.values():
                task.cancel()
        return answers, sorted(away)

    def _is_ahead(self, stamp: Stamp) -> bool:
        """Whether a stamp is of a time that has not come: the feed would not let it in either."""
        try:
            self._home.names.clock.check(stamp)
        except StampAhead:
            return True
        return False

    # -- one key --------------------------------------------------------------------------------

    async def find(
        self, bucket_id: str, key: str, vid: str | None, *, newer: bool = False
    ) -> Found:
        links, away = self._links()
        ask = shapes.CurrentAsk(bucket_id, key, vid)
        with self._asked.one():
            asks = {link.peer.name: self._current(link, ask) for link in links}
            answers, away = await self._ask_all(asks, away, "current version")
        gone: dict[str, Stamp] = {}
        for one in answers.values():
            if type(one) is wire.TombstoneRecord and not self._is_ahead(one.stamp):
                gone[one.vid] = max(gone.get(one.vid, ""), one.stamp)
        found = [
            (one, name)
            for name, one in answers.items()
            if type(one) is wire.VersionRecord
            and not self._is_ahead(one.stamp)
            and not (one.vid in gone and (one.vid or gone[one.vid] >= one.stamp))
        ]
        told = [ToldOf(one.key, one.vid, one.stamp) for one, _ in found]
        as_current = vid is None and not newer
        news = await self._home.names.news.are_news(bucket_id, told, as_current=as_current)
        shown = [pair for pair, is_news in zip(found, news, strict=True) if is_news]
        if not shown:
            return Found(None, "", away)
        record, name = max(shown, key=lambda pair: pair[0].stamp)
        bare = record.kind == Kind.DELETE_MARKER
        return Found(incoming_version(record, [] if bare else elsewhere(record.size)), name, away)

    async def _current(
        self, link: Link, ask: shapes.CurrentAsk
    ) -> wire.VersionRecord | wire.TombstoneRecord | None:
        answer = await link.client.call("current", shapes.encode(ask))
        data = messages.decode_body(answer, shapes.Current).record
        if data is None:
            return None
        record = wire.decode_record(data)
        if not isinstance(record, wire.VersionRecord | wire.TombstoneRecord):
            raise WireError("the record of no version")
        if (record.bucket, record.key) != (ask.bucket, ask.key):
            raise WireError("the record of another key")
        if ask.vid is not None and record.vid != ask.vid:
            raise WireError("the record of another version")
        if isinstance(record, wire.VersionRecord):
            parts = record.meta.parts
            if parts and sum(part.size for part in parts) != record.size:
                raise WireError("parts that are not the whole")
        return record

    # -- bytes ----------------------------------------------------------------------------------

    async def open(self, version: Version, start: int, stop: int) -> Passing:
        self._bodies.check()
        clock = self._home.clock
        until = clock.monotonic() + READ_FIRST_SECONDS
        links = self._in_order(version)
        for number, link in enumerate(links):
            share = (until - clock.monotonic()) / (len(links) - number)
            pieces = self._pieces(link, version, start, stop)
            try:
                async with asyncio.timeout(share):
                    first = await anext(pieces)
            except (ReplicatorError, StopAsyncIteration, *_BROKEN) as error:
                log.info("a peer gave no bytes", peer=link.peer.name, error=printable(error))
                continue
            return Passing(link.peer.name, self._passing(first, pieces))
        raise NotGiven(f"no other datacenter gives the bytes of {version.key!a} now")

    def _in_order(self, version: Version) -> list[Link]:
        """Whom to ask for the bytes of a version, one after the other."""
        rules = placement(self._home.names.directory.bucket_by_id(version.bucket))
        origin = stamp_origin(version.stamp)

        def rank(link: Link) -> int:
            if link.peer.dc_id == origin:
                return 0
            return 1 if rules is None or rules.holds(link.peer.name, version.key) else 2

        return sorted(self._links()[0], key=rank)

    async def _pieces(
        self, link: Link, version: Version, start: int, stop: int
    ) -> AsyncIterator[Buffer]:
        """The bytes from one peer, the last of them when all are known to be right."""
        ask = messages.BodyAsk(version.bucket, version.key, version.vid, version.stamp, start, stop)
        with self._bodies.one():
            async with link.client.read(ask) as content:
                crc, left, held = 0, stop - start, b""
                while left:
                    data = await content.read(min(left, MIB))
                    if not data:
                        raise BodyUnavailable(f"the body ended {left} bytes early")
                    if held:
                        yield held
                    crc, left, held = crc64nvme(data, crc), left - len(data), data
                sent = int.from_bytes(await content.readexactly(CRC_BYTES), "big")
            whole = (start, stop) == (0, version.size)
            if sent != crc or (whole and crc != version.meta.crc64):
                raise BodyCorrupt("the bytes that came are not those of the object")
            yield held

    async def _passing(self, first: Buffer, rest: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
        async with aclosing(cast(Any, rest)):
            try:
                yield first
                async for piece in rest:
                    yield piece
            except BodyCorrupt as error:
                raise CorruptData(str(error)) from None
            except (ReplicatorError, *_BROKEN) as error:
                raise MissingData(f"the bytes ended early: {printable(error)}") from None

    # -- listings -------------------------------------------------------------------------------

    async def pages(
        self, bucket_id: str, *, prefix: str, delimiter: str, after: str, limit: int
    ) -> Told:
        links, away = self._links()
        with self._asked.one():
            ask = shapes.ListAsk(bucket_id, prefix, delimiter, after, limit)
            asks = {link.peer.name: self._list(link, ask) for link in links}
            answers, away = await self._ask_all(asks, away, "listing")
        pages = {}
        for name, answer in answers.items():
            rows = await self._news(bucket_id, answer)
            objects = [row.listed for row in rows]
            pages[name] = Page(objects, answer.prefixes, answer.truncated, answer.last)
        return Told(pages, away)

    async def _list(self, link: Link, ask: shapes.ListAsk) -> shapes.Listing:
        answer = await link.client.call("list", shapes.encode(ask))
        listing = messages.decode_body(answer, shapes.Listing)
        shapes.check_listing(listing, ask)
        return listing

    async def _news(self, bucket_id: str, answer: shapes.Listing) -> list[shapes.Row]:
        """The objects of a listing that are to be shown here."""
        rows = [row for row in answer.rows if not self._is_ahead(row.stamp)]
        news = await self._home.names.news.are_news(bucket_id, [row.told for row in rows])
        return [row for row, is_news in zip(rows, news, strict=True) if is_news]

    async def version_pages(
        self,
        bucket_id: str,
        *,
        prefix: str,
        delimiter: str,
        after: tuple[str, str | None],
        limit: int,
    ) -> ToldVersions:
        links, away = self._links()
        with self._asked.one():
            ask = shapes.VersionsAsk(bucket_id, prefix, delimiter, *after, limit)
            asks = {link.peer.name: self._list_versions(link, ask) for link in links}
            answers, away = await self._ask_all(asks, away, "listing of versions")
        # The key that the page begins in the middle of.
        inside = after[0] if after[1] is not None else ""
        pages = {}
        for name, answer in answers.items():
            rows = await self._new_versions(bucket_id, answer, inside)
            pages[name] = VersionPage(rows, answer.prefixes, answer.truncated, *answer.last)
        nulls = [row.stamp for page in pages.values() for row in _nulls(page, inside)]
        if nulls:
            latest = (await self.find(bucket_id, inside, "")).version
            if latest is not None and latest.stamp > max(nulls):
                # That of another datacenter stands before, and was shown there.
                for page in pages.values():
                    for row in _nulls(page, inside):
                        page.versions.remove(row)
        return ToldVersions(pages, away)

    async def _list_versions(self, link: Link, ask: shapes.VersionsAsk) -> shapes.Versions:
        answer = await link.client.call("versions", shapes.encode(ask))
        listing = messages.decode_body(answer, shapes.Versions)
        shapes.check_versions(listing, ask)
        return listing

    async def _new_versions(
        self, bucket_id: str, answer: shapes.Versions, inside: str = ""
    ) -> list[ListedVersion]:
        """The versions of a listing that are to be shown beside those that are here."""
        rows = [row for row in answer.rows if not self._is_ahead(row.stamp)]
        news = await self._home.names.news.are_versions(bucket_id, [row.told for row in rows])
        shown = [row for row, is_news in zip(rows, news, strict=True) if is_news]
        return [row.shown(latest=row.key != inside) for row in shown]

    # -- common prefixes ------------------------------------------------------------------------

    async def with_news(
        self, bucket_id: str, prefixes: Mapping[str, Sequence[str]], *, versions: bool = False
    ) -> set[str]:
        has_news = self._has_new_versions if versions else self._has_news
        links = {link.peer.name: link for link in self._links()[0]}
        found = set(prefixes)
        slots = asyncio.Semaphore(PREFIXES_AT_ONCE)

        async def look(prefix: str, names: Sequence[str]) -> None:
            async with slots:
                for name in names:
                    if name not in links or await has_news(links[name], bucket_id, prefix):
                        return
            found.discard(prefix)

        with self._asked.one(), suppress(TimeoutError):
            async with asyncio.timeout(READ_NAMES_SECONDS), TaskGroup() as group:
                for prefix, names in prefixes.items():
                    group.create_task(look(prefix, names))
        return found

    async def _has_news(self, link: Link, bucket_id: str, prefix: str) -> bool:
        """Whether a peer has an object below a prefix that is news here; True when that is not
        known."""
        after = ""
        for _ in range(NEWS_PAGES_MAX):
            ask = shapes.ListAsk(bucket_id, prefix, "", after, LIST_KEYS_MAX)
            answer = await _of(self._list(link, ask))
            if isinstance(answer, Exception):
                return _not_known(link, answer)
            if await self._news(bucket_id, answer):
                return True
            if not answer.truncated:
                return False
            after = answer.last
        return True

    async def _has_new_versions(self, link: Link, bucket_id: str, prefix: str) -> bool:
        """The same of versions and delete markers."""
        after: tuple[str, str | None] = ("", None)
        for _ in range(NEWS_PAGES_MAX):
            ask = shapes.VersionsAsk(bucket_id, prefix, "", *after, LIST_KEYS_MAX)
            answer = await _of(self._list_versions(link, ask))
            if isinstance(answer, Exception):
                return _not_known(link, answer)
            if await self._new_versions(bucket_id, answer):
                return True
            if not answer.truncated:
                return False
            after = answer.last
        return True


def _nulls(page: VersionPage, key: str) -> list[ListedVersion]:
    """The null versions of a key, "" for of none."""
    return [row for row in page.versions if key and row.key == key and not row.vid]


def _not_known(link: Link, error: Exception) -> bool:
    """There may be something."""
    log.info("a peer did not answer", peer=link.peer.name, error=printable(error))
    return True


async def _of(ask: Awaitable[T]) -> T | Exception:
    """The answer, or why there is none."""
    try:
        return await ask
    except (ReplicatorError, *_BROKEN) as error:
        return error
