"""A `Node` in this process: it starts whole or not at all, and stops without leaving anything."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from admin.errors import AdminError
from admin.initialize import initialize
from admin.layout import Layout, running_pid
from admin.node import Node, _within
from dc.config import S3, Admin, Config, Peer
from dc.system import SystemClock, SystemDisk, SystemNetwork, SystemRandomness

ANY = "127.0.0.1:0"


def make(root: Path, admin: str = ANY) -> Layout:
    config = Config(
        name="paris",
        region="eu",
        s3=S3(listen=ANY),
        peer=Peer(listen=ANY),
        admin=Admin(listen=admin),
    )
    initialize(root, config, SystemClock(), SystemDisk(), SystemRandomness())
    return Layout(root)


def node_of(layout: Layout) -> Node:
    return Node(layout, SystemClock(), SystemDisk(), SystemRandomness(), SystemNetwork())


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port))).close()
    except ConnectionRefusedError:
        return False
    return True


async def test_it_starts_and_stops_and_starts_again(tmp_path: Path) -> None:
    layout = make(tmp_path)
    for _ in range(2):
        node = node_of(layout)
        await node.start()
        run = json.loads(layout.run.read_bytes())
        assert run["dc_id"] == node.status()["dc_id"]
        addresses = [node.url(what) for what in ("s3", "peer", "admin")]
        assert all(map(listens, addresses))
        assert node.status()["advertise"] == [node.url("peer")]
        assert node.status()["clock"] == "ok"
        await node.stop()
        assert not any(map(listens, addresses))
        assert running_pid(layout) == 0
        await node.stop()


async def test_it_says_what_it_is_called_and_minds_its_settings(tmp_path: Path) -> None:
    layout = make(tmp_path)
    said = set()
    for name in ("paris", "paris", "lutetia"):
        text = layout.config.read_text().replace('name = "paris"', f'name = "{name}"')
        layout.config.write_text(text.replace('"30d"', '"40d"'))
        node = node_of(layout)
        await node.start()
        assert node._parts is not None
        names = node._parts.names
        site = names.directory.site(node.status()["dc_id"])
        assert site is not None and (site.name, site.region) == (name, "eu")
        said.add(site.stamp)
        forty_days = 40 * 86_400_000
        assert names.knowledge.conflict_retention_ms == forty_days
        assert names.knowledge.peer_absence_ms_max == forty_days
        await node.stop()
    assert len(said) == 2, "it is said when it is news"


async def test_a_second_one_is_refused_and_does_no_harm(tmp_path: Path) -> None:
    layout = make(tmp_path)
    node = node_of(layout)
    await node.start()
    with pytest.raises(AdminError, match="already running"):
        await node_of(layout).start()
    assert listens(node.url("s3"))
    await node.stop()


async def test_what_fails_late_leaves_nothing_behind(tmp_path: Path) -> None:
    """The admin listener is the last to be opened."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        layout = make(tmp_path, admin=f"127.0.0.1:{held.getsockname()[1]}")
        node = node_of(layout)
        with pytest.raises(AdminError, match="is taken"):
            await node.start()
    assert not listens(node.url("s3")) and not listens(node.url("peer"))
    assert not layout.run.exists()
    assert running_pid(layout) == 0
    node = node_of(layout)
    await node.start()
    await node.stop()


async def test_data_that_is_none_is_refused(tmp_path: Path) -> None:
    layout = make(tmp_path)
    (layout.names / "names.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(AdminError, match="cannot be opened"):
        await node_of(layout).start()
    assert running_pid(layout) == 0


async def test_a_part_that_hangs_is_cut_off_also_when_the_start_was_cancelled() -> None:
    ended: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("hang")

    async def start() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await _within(0.01, hang(), "hang")
            ended.append("the others")

    task = asyncio.get_running_loop().create_task(start())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert ended == ["hang", "the others"]
