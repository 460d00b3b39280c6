"""What other DCs may ask for clients of theirs that wait (`replicator/reading_wire.py`).

Names go everywhere, so they are told whatever the bucket's setting is; bytes that its rules keep
from the asker only when it is on (`replicator/feed_server.py`). A DC answers by what it has itself,
and asks nobody else: so nothing goes round in a circle.
"""

import asyncio

from aiohttp import web

from dc.names.kinds import TOMBSTONE
from dc.names.model import Change, Peer
from replicator import messages, wire
from replicator import reading_wire as shapes
from replicator.compare_server import Handler
from replicator.home import Home
from replicator.limits import LISTS_AT_ONCE
from replicator.records import outgoing


class ReadingServer:
    """Answers by name of the request: the body and the caller in, the response out."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lists = asyncio.Semaphore(LISTS_AT_ONCE)
        self.routes: dict[str, Handler] = {
            "current": self._current,
            "list": self._list,
            "versions": self._versions,
        }

    async def _current(self, body: bytes, peer: Peer) -> web.StreamResponse:
        ask = messages.decode_body(body, shapes.CurrentAsk)
        shapes.check_current_ask(ask)
        found = await self._look_up(ask)
        if found is None:
            return _answer(shapes.Current(None))
        record = outgoing(0, found, None, self._home.sealer, peer.sealing_key)
        return _answer(shapes.Current(wire.encode_record(record)))

    async def _look_up(self, ask: shapes.CurrentAsk) -> Change | None:
        """The version, or the tombstone of the version that is asked for: of the null one where
        none is named."""
        names, found = self._home.names, None
        if ask.vid is None:
            found = await names.current(ask.bucket, ask.key)
        if found is not None:
            return found
        entries = await names.records(ask.bucket, [(TOMBSTONE, ask.key, ask.vid or "")])
        return entries[0].change if entries else None

    async def _list(self, body: bytes, _: Peer) -> web.StreamResponse:
        ask = messages.decode_body(body, shapes.ListAsk)
        shapes.check_list_ask(ask)
        names = self._home.names
        async with self._lists:
            page = await names.list_objects(
                ask.bucket,
                prefix=ask.prefix,
                delimiter=ask.delimiter,
                after=ask.after,
                limit=ask.limit,
            )
            vids = await names.news.vids(ask.bucket, page.objects)
        return _answer(shapes.listing_of(page, vids))

    async def _versions(self, body: bytes, _: Peer) -> web.StreamResponse:
        ask = messages.decode_body(body, shapes.VersionsAsk)
        shapes.check_list_ask(ask)
        async with self._lists:
            page = await self._home.names.list_versions(
                ask.bucket,
                prefix=ask.prefix,
                delimiter=ask.delimiter,
                after=(ask.after, ask.after_vid),
                limit=ask.limit,
            )
        return _answer(shapes.versions_of(page))


def _answer(shape: object) -> web.Response:
    return web.Response(body=shapes.encode(shape))
