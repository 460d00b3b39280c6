"""Leases that a datacenter gave before it was started anew."""

import asyncio

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
