"""A pairing is proved: a change went there and took effect, and one came from there."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from replica_kit import Dc, datacenters, eventually, settled

from replicator.pairing import PairingReport


async def hang(*_: object) -> web.StreamResponse:
    await asyncio.sleep(3600)
    return web.Response(status=204)


def block(dc: Dc, method: str, name: str) -> None:
    """Calls of peers for this never get an answer."""
    dc.replicator._server._routes[method, name] = hang


async def joined(paris: Dc, tokyo: Dc, seconds: float = 1.0) -> PairingReport:
    return await tokyo.replicator.join(paris.replicator.issue_token().token, seconds)


async def test_both_were_seen(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        report = await joined(paris, tokyo, 15)
        assert report.went and report.came and report.complete and report.missing == []
        texts = [step.text for step in report.steps]
        assert "a change made here took effect in paris" in texts
        assert "a change made in paris took effect here" in texts
        times = [step.seconds for step in report.steps]
        assert times == sorted(times) and times[-1] < 15
        # It is true: each has the other's record, and it was acknowledged.
        for one, other in ((paris, tokyo), (tokyo, paris)):
            site = one.names.directory.site(other.dc_id)
            assert site is not None and site.name == other.name
        await settled(paris, tokyo)


async def test_the_issuer_puts_its_record_anew(tmp_path: Path) -> None:
    """Also when it had one: an old record would prove nothing."""
    async with datacenters(tmp_path, "paris", "tokyo", "austin") as (paris, tokyo, austin):
        await joined(paris, tokyo, 15)
        first = paris.names.directory.site(paris.dc_id)
        assert (await joined(paris, austin, 15)).complete
        again = paris.names.directory.site(paris.dc_id)
        assert first is not None and again is not None and again.stamp > first.stamp
        seen = austin.names.directory.site(paris.dc_id)
        assert seen is not None and seen.stamp >= again.stamp


async def test_the_joiner_cannot_be_reached(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        tokyo.advertised = ["127.0.0.1:1"]
        report = await joined(paris, tokyo)
        assert (report.went, report.came, report.complete) == (False, True, False)
        (missing,) = report.missing
        assert "paris does not take our changes yet" in missing and "127.0.0.1:1" in missing
        assert [peer.name for peer in tokyo.names.peers()] == ["paris"], "the pairing stands"


async def test_changes_go_there_and_are_not_acknowledged(tmp_path: Path) -> None:
    """The stream alone proves nothing."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        block(tokyo, "POST", "ack")
        report = await joined(paris, tokyo)
        assert (report.went, report.came) == (False, True)
        (missing,) = report.missing
        assert "paris has not acknowledged a change made here" in missing


async def test_no_stream_from_the_issuer(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        feed = paris.replicator._server._routes["GET", "feed"]
        block(paris, "GET", "feed")
        report = await joined(paris, tokyo)
        assert (report.went, report.came) == (True, False)
        (missing,) = report.missing
        assert "changes of paris do not come yet" in missing
        # What is missing is tried again, and comes.
        paris.replicator._server._routes["GET", "feed"] = feed
        await tokyo.down()
        await tokyo.up()
        await eventually(lambda: tokyo.names.directory.site(paris.dc_id) is not None)


async def test_the_stream_brings_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):

        async def stuck(*_: object, **__: object) -> None:
            await asyncio.sleep(3600)

        monkeypatch.setattr(tokyo.names, "apply", stuck)
        report = await joined(paris, tokyo)
        assert (report.went, report.came) == (True, False)
        (missing,) = report.missing
        assert "a change made in paris has not come here" in missing


async def test_neither(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        for dc in (paris, tokyo):
            block(dc, "GET", "feed")
        report = await joined(paris, tokyo, 0.3)
        assert (report.went, report.came, len(report.missing)) == (False, False, 2)
        assert report.steps[-1].text == "the pairing is recorded on both sides"
