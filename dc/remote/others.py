"""The other datacenters, and the notary, as a gateway on another machine has them: `Others` and
`Proofs` over a session, asked by way of its own datacenter."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from dc.names.model import Version
from dc.notary import Proven
from dc.ports import Buffer
from dc.read_through import Found, Passing, Told, ToldVersions
from dc.remote.calls import METHODS, encode
from dc.remote.objects import Reading
from dc.remote.session import Session
from dc.remote.wire import Call, ReadOther, decode_name
from dc.stamps import Stamp


class RemoteOthers:
    """See `dc.read_through.Others`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def find(
        self, bucket_id: str, key: str, vid: str | None, *, newer: bool = False
    ) -> Found:
        found: Found = await call(self._session, "find", bucket_id, key, vid, newer=newer)
        return found

    async def open(self, version: Version, start: int, stop: int) -> Passing:
        reading = Reading(
            self._session,
            stop - start,
            lambda number: ReadOther(number, start, stop),
            encode(version),
        )
        try:
            datacenter = decode_name(await self._session.expect(reading.id))
        except BaseException:
            reading.close()
            raise
        return Passing(datacenter, _pieces(reading))

    async def pages(
        self, bucket_id: str, *, prefix: str, delimiter: str, after: str, limit: int
    ) -> Told:
        asked = {"prefix": prefix, "delimiter": delimiter, "after": after, "limit": limit}
        told: Told = await call(self._session, "pages", bucket_id, **asked)
        return told

    async def version_pages(
        self,
        bucket_id: str,
        *,
        prefix: str,
        delimiter: str,
        after: tuple[str, str | None],
        limit: int,
    ) -> ToldVersions:
        asked = {"prefix": prefix, "delimiter": delimiter, "after": after, "limit": limit}
        told: ToldVersions = await call(self._session, "version_pages", bucket_id, **asked)
        return told

    async def with_news(
        self, bucket_id: str, prefixes: Mapping[str, Sequence[str]], *, versions: bool = False
    ) -> set[str]:
        asked = (bucket_id, prefixes)
        found: set[str] = await call(self._session, "with_news", *asked, versions=versions)
        return found


class RemoteProofs:
    """See `dc.notary.Proofs`: the notary of its own datacenter."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._proven = Proven()

    async def is_proven(self, written: Stamp) -> bool:
        if written in self._proven:
            return True
        found: bool = await call(self._session, "is_proven", written)
        if found:
            self._proven.add(written)
        return found

    async def certificate(self, written: Stamp) -> bytes | None:
        found: bytes | None = await call(self._session, "certificate", written)
        return found


async def call(session: Session, what: str, *arguments: Any, **named: Any) -> Any:
    """Ask the datacenter for one of `dc.remote.calls.METHODS`."""
    method = METHODS[what]
    payload = encode(method.arguments(*arguments, **named))
    answer = session.ask(session.link_for(0), lambda number: Call(number, what), payload)
    return method.read_result(await answer)


async def _pieces(reading: Reading) -> AsyncIterator[Buffer]:
    try:
        while (piece := await reading.next()) is not None:
            yield piece
    finally:
        reading.close()
