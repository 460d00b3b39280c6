"""The name servers as a gateway on another machine has them: `GatewayNames` over a session."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

from dc.names.directory import MemoryDirectory
from dc.names.errors import NamesError
from dc.names.gateway_api import GatewayNames
from dc.names.model import Kind, Peer, Removal, Version
from dc.remote.calls import METHODS, OF_NAMES, encode, hear_outcomes, say_removals
from dc.remote.session import Session
from dc.remote.wire import Call
from dc.stamps import Stamp

_MARKS_MAX = 4096


class RemoteNames:
    """Has all the calls of `GatewayNames`; those that are not written out here are as in
    `dc/remote/calls.py`. `remote_names` makes one."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._link = session.link_for(0)
        self._marks: OrderedDict[Stamp, str] = OrderedDict()
        self._wanted: list[asyncio.Future[Stamp]] = []

    @property
    def dc_id(self) -> str:
        return self._session.welcome.dc_id

    @property
    def directory(self) -> MemoryDirectory:
        return self._session.directory

    def peers(self) -> list[Peer]:
        return self._session.peers

    async def call(self, name: str, *arguments: Any, **named: Any) -> Any:
        method = METHODS[name]
        payload = encode(method.arguments(*arguments, **named))
        answer = self._session.ask(self._link, lambda number: Call(number, name), payload)
        return method.read_result(await answer)

    async def stamp(self) -> Stamp:
        """Those who need one in the same turn of the event loop share a call."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Stamp] = loop.create_future()
        if not self._wanted:
            loop.call_soon(self._ask_stamps)
        self._wanted.append(future)
        return await future

    def _ask_stamps(self) -> None:
        wanted, self._wanted = self._wanted, []
        method = METHODS["stamps"]
        try:
            payload = encode(method.arguments(len(wanted)))
            answer = self._session.ask(self._link, lambda number: Call(number, "stamps"), payload)
        except NamesError as error:
            for future in wanted:
                _fail(future, error)
            return
        answer.add_done_callback(lambda done: _hand_out(done, method.read_result, wanted))

    async def remove(self, removals: Sequence[Removal]) -> list[Kind | NamesError | None]:
        return hear_outcomes(await self.call("remove", say_removals(removals)))

    async def current(self, bucket_id: str, key: str) -> Version | None:
        return self._marked(await self.call("current", bucket_id, key))

    async def version(self, bucket_id: str, key: str, vid: str) -> Version | None:
        return self._marked(await self.call("version", bucket_id, key, vid))

    def _marked(self, found: tuple[Version | None, str]) -> Version | None:
        version, mark = found
        if version is not None:
            self._marks[version.stamp] = mark
            self._marks.move_to_end(version.stamp)
            if len(self._marks) > _MARKS_MAX:
                self._marks.popitem(last=False)
        return version

    def mark(self, version: Version) -> str:
        """What `x-amz-replication-status` says of a version that was just read."""
        return self._marks.get(version.stamp, "")


def _call(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def call(self: RemoteNames, *arguments: Any, **named: Any) -> Any:
        return await self.call(name, *arguments, **named)

    return call


for _name in OF_NAMES:
    if not hasattr(RemoteNames, _name):
        setattr(RemoteNames, _name, _call(_name))


def _hand_out(
    done: asyncio.Future[bytes],
    read: Callable[[bytes], list[Stamp]],
    wanted: Sequence[asyncio.Future[Stamp]],
) -> None:
    try:
        for future, stamp in zip(wanted, read(done.result()), strict=True):
            if not future.done():
                future.set_result(stamp)
    except (Exception, asyncio.CancelledError) as error:
        for future in wanted:
            _fail(future, error)


def _fail(future: asyncio.Future[Stamp], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def remote_names(session: Session) -> tuple[GatewayNames, Callable[[Version], str]]:
    """The names, and what says how far the replication of a version is."""
    names = RemoteNames(session)
    return cast(GatewayNames, names), names.mark
