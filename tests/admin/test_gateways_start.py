"""Leases that a datacenter gave before it was started anew."""

import asyncio

import pytest

from admin.gateways import GatewayAt, Gateways
from dc.objects.nodes.client import NodeAddress
from dc.remote.copies import MARGIN_SECONDS
from dc.remote.session import LEASE_SECONDS
from dc.remote.wire import Settings
from dc.system import SystemClock, SystemRandomness, connect

SETTINGS = Settings(
    name="paris",
    region="paris",
    base_domains=[],
    website_domains=[],
    signature_v2=False,
    ssec_over_http=False,
    notifications=False,
    access_log_ms=1000,
)


class Moved(SystemClock):
    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class Unwritten:
    """Of a connection: where nothing that is written arrives."""

    transport = property(lambda self: self)

    def write(self, data: bytes) -> None: ...

    def abort(self) -> None: ...


async def test_a_gateway_of_an_older_version_is_to_be_upgraded() -> None:
    """It takes the hello for nothing that it knows, and ends the connection."""

    async def ended(*_: object) -> tuple[asyncio.StreamReader, Unwritten]:
        reader = asyncio.StreamReader()
        reader.feed_eof()
        return reader, Unwritten()

    at = GatewayAt(NodeAddress("gw1", (("127.0.0.1", 1),), "0" * 64), lambda nonce: nonce)
    made = Gateways(
        Names(),  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        lambda _: "",
        SETTINGS,
        bytes(32),
        SystemClock(),
        SystemRandomness(),
        ended,  # type: ignore[arg-type]
    )
    with pytest.raises(OSError, match="upgrade the node"):
        await made._dial(at, "session", 0)


class Names:
    copies: object


async def test_from_the_beginning_leases_of_an_earlier_process_count() -> None:
    """Before it listens to anybody: who is answered early is not answered too early."""
    for there in (True, False):
        names, clock = Names(), Moved()
        at = GatewayAt(NodeAddress("gw1", (("127.0.0.1", 1),), "0" * 64), lambda nonce: nonce)
        made = Gateways(
            names,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            lambda _: "",
            SETTINGS,
            bytes(32),
            clock,
            SystemRandomness(),
            connect,
            [at] if there else [],
        )
        settled = asyncio.create_task(made._copies.settled())
        await asyncio.sleep(0.05)
        assert names.copies is made._copies and settled.done() != there
        clock.ahead = LEASE_SECONDS + MARGIN_SECONDS
        again = asyncio.create_task(made._copies.settled())
        await asyncio.sleep(0.05)
        assert again.done()
        settled.cancel()
