"""The gateways on other machines, as the datacenter has them: each is connected, and again when
that has ended, until its node is released (docs/gateways.md).
"""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec
import structlog

from dc.names.model import Version
from dc.names.service import SqliteNames
from dc.notary import Proofs
from dc.objects.api import ObjectStore
from dc.objects.nodes import wire as nodes
from dc.objects.nodes.client import NodeAddress, Prove
from dc.ports import Clock, Randomness
from dc.read_through import Others
from dc.remote import wire
from dc.remote.calls import PROTOCOL
from dc.remote.copies import Copies
from dc.remote.link import Link
from dc.remote.server import Serving
from dc.remote.wire import Asked, Settings, Welcome
from dc.worker import Worker

log = structlog.get_logger("gateways")

CONNECT_SECONDS_MAX = 5.0
AGAIN_SECONDS = 1.0
_SESSION_BYTES = 16

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[Sequence[tuple[str, int]], str, float], Awaitable[Streams]]


class GatewayAt(NamedTuple):
    """A node that is a gateway. `prove` shows it who asks."""

    address: NodeAddress
    prove: Prove


class _Gateway:
    """One of them."""

    def __init__(self, at: GatewayAt) -> None:
        self.at = at
        self.is_connected = False
        self.problem = ""
        self.worker: Worker


class Gateways:
    """Of one datacenter. `add` and `remove` them; `stop` all."""

    def __init__(
        self,
        names: SqliteNames,
        objects: ObjectStore,
        mark: Callable[[Version], str],
        settings: Settings,
        data_key: bytes,
        clock: Clock,
        randomness: Randomness,
        connect: Connect,
        there: Sequence[GatewayAt] = (),
        others: Others | None = None,
        proofs: Proofs | None = None,
    ) -> None:
        """`there`: gateways that there are. From now on it counts that they may have leases.
        `others`: what they read through; `proofs`: the notary."""
        self._names = names
        self._objects = objects
        self._mark = mark
        self._others = others
        self._proofs = proofs
        self._settings = settings
        self._data_key = data_key
        self._clock = clock
        self._randomness = randomness
        self._connect = connect
        self._copies = Copies(clock)
        self._gateways: dict[str, _Gateway] = {}
        self._there = there
        names.copies = self._copies
        if there:
            self._copies.may_be_out()

    def start(self) -> None:
        """Connect those that there are."""
        for at in self._there:
            self.add(at)

    def add(self, at: GatewayAt) -> None:
        """Connect one more, or one whose address has changed."""
        known = self._gateways.get(at.address.name)
        if known is not None:
            known.at = at
            return
        one = self._gateways[at.address.name] = _Gateway(at)
        one.worker = Worker(f"gateway {at.address.name}", self._clock, lambda: self._work(one))
        one.worker.start()

    async def remove(self, name: str) -> None:
        """Let one go: it serves nobody any more when this returns."""
        one = self._gateways.pop(name, None)
        if one is not None:
            await one.worker.stop()
            await self._copies.settled()

    async def stop(self) -> None:
        for one in self._gateways.values():
            await one.worker.stop()

    def state(self, name: str) -> str:
        """ "connected", or why it is not."""
        one = self._gateways.get(name)
        if one is None:
            return ""
        return "connected" if one.is_connected else one.problem or "connecting"

    def connected(self) -> set[str]:
        return {name for name, one in self._gateways.items() if one.is_connected}

    # -- one of them ------------------------------------------------------------------------------

    async def _work(self, one: _Gateway) -> float:
        """One session, and the wait before the next."""
        links: list[Link[Asked]] = []
        name = one.at.address.name
        try:
            session = self._randomness.token(_SESSION_BYTES).hex()
            for number in range(wire.LINKS):
                links.append(await self._dial(one.at, session, number))
            serving = Serving(
                links,
                self._names,
                self._objects,
                self._mark,
                self._copies,
                self._others,
                self._proofs,
            )
            one.is_connected, one.problem = True, ""
            log.info("a gateway is connected", node=name)
            welcome = Welcome(self._names.dc_id, self._settings, self._data_key)
            await serving.run(welcome, self._names.directory)
        except (OSError, asyncio.IncompleteReadError) as error:
            problem = f"{type(error).__name__}: {error}"
            if problem != one.problem:
                log.warning("a gateway is not connected", node=name, reason=problem)
            one.problem = problem
        finally:
            one.is_connected = False
            for link in links:
                link.close()
        return AGAIN_SECONDS

    async def _dial(self, at: GatewayAt, session: str, number: int) -> Link[Asked]:
        reader, writer = await self._connect(
            at.address.endpoints, at.address.fingerprint, CONNECT_SECONDS_MAX
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                writer.write(nodes.frame(nodes.Hello()))
                proof = nodes.Proof(at.prove(await _challenged(reader)))
                writer.write(nodes.frame(proof))
                await _answer(reader)
                ask = nodes.Ask(PROTOCOL, 0, session, offset=number, length=wire.LINKS)
                writer.write(nodes.frame(ask))
                await _answer(reader)
        except BaseException:
            writer.transport.abort()
            raise
        return Link(reader, writer, wire.decode_asked)


async def _challenged(reader: asyncio.StreamReader) -> bytes:
    """What the node has drawn. OSError when it sends nothing like that."""
    try:
        header = await _header(reader)
    except (ConnectionError, asyncio.IncompleteReadError):
        raise nodes.ended_at_once() from None
    return nodes.nonce_of(header)


async def _header(reader: asyncio.StreamReader) -> bytes:
    header, _ = nodes.lengths(await reader.readexactly(nodes.LENGTHS.size), 0)
    return await reader.readexactly(header)


async def _answer(reader: asyncio.StreamReader) -> None:
    """OSError when it is a refusal, or none."""
    try:
        answer = nodes.decode_answer(await _header(reader))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise OSError(errno.EPROTO, f"no answer: {error}") from None
    if answer.error:
        raise nodes.raised(answer)
