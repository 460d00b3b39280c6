"""A client of one datacenter asks another one, as it is: signed for the region of its own."""

from pathlib import Path

from gateway_kit import REGION
from paired_kit import house_of
from replica_kit import datacenters, pair


async def test_a_signature_may_name_the_regions_of_peers_as_long_as_they_are_peers(
    tmp_path: Path,
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        async with house_of(tokyo) as house:
            assert (await house.ask("GET", "/", region=REGION)).status == 200
            refused = await house.ask("GET", "/", region="eu")
            assert refused.status == 400 and b"expecting" in refused.body
            await pair(paris, tokyo)
            assert (await house.ask("GET", "/", region="eu")).status == 200
            assert (await house.ask("GET", "/", region="eu", secret="wrong")).status == 403
            assert (await house.ask("GET", "/", region="mars")).status == 400
            await tokyo.replicator.remove_peer(paris.dc_id)
            assert (await house.ask("GET", "/", region="eu")).status == 400
