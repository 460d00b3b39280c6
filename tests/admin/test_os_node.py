"""A node and its datacenter in one process: clocks that do not agree, and who is somebody else."""

import asyncio
import socket
from functools import partial
from pathlib import Path

import pytest

from admin import os_node
from admin.errors import AdminError
from admin.fleet import Fleet
from admin.fleet_state import FleetState, NodeRecord, write_state
from admin.layout import Layout, shown_json
from admin.os_node import NODE_FILE, NodeConfig, OsNode, _keys
from dc.config import Config
from dc.objects.coded_disks import CodedDisks
from dc.objects.marks import MARK, mark_of
from dc.objects.nodes import wire
from dc.objects.nodes.wire import Answer, Ask
from dc.objects.redundancy import parse_mode
from dc.system import SideBySide, SystemClock, SystemDisk, SystemRandomness
from replicator import messages
from tokens.identity import Identity
from tokens.joining import JoinOffer
from tokens.place import Place

HOUR_MS = 3_600_000
DISK, RANDOMNESS = SystemDisk(), SystemRandomness()


class Off(SystemClock):
    """A wall clock that is wrong, which it may be at any time."""

    by_ms = 0

    def wall_ms(self) -> int:
        return super().wall_ms() + self.by_ms


def identity() -> Identity:
    return Identity.generate(RANDOMNESS.token)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def joined(root: Path, dc: Identity, listen: str) -> NodeRecord:
    """Make `root` a node of a datacenter with one disk."""
    node, mark = _keys(root, SystemClock(), DISK, RANDOMNESS)
    folder = root.parent / "disk"
    folder.mkdir()
    (folder / MARK).write_bytes(mark_of(dc.dc_id))
    config = NodeConfig(
        name="os1",
        host="os1",
        listen=listen,
        disks=[str(folder)],
        dc_id=dc.dc_id,
        dc_name="paris",
        dc_key=dc.public.signing_key,
    )
    (root / NODE_FILE).write_bytes(shown_json(config))
    return NodeRecord(
        name="os1",
        node_id=node.dc_id,
        endpoints=[listen],
        fingerprint=mark,
        signing_key=node.public.signing_key,
        host="os1",
        disks=[str(folder)],
        joined="",
    )


def fleet_of(root: Path, dc: Identity, record: NodeRecord, clock: SystemClock) -> Fleet:
    root.mkdir(exist_ok=True)
    layout = Layout(root)
    write_state(layout.disks, FleetState(nodes=[record]), DISK)
    config = Config(name="paris", region="eu")
    return Fleet(layout, config, dc, clock=clock, disk=DISK, randomness=RANDOMNESS)


async def test_a_node_gets_more_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, paris = tmp_path / "os1", identity()
    record = joined(root, paris, "127.0.0.1:7")
    fleet = fleet_of(tmp_path / "paris", paris, record, SystemClock())
    fleet.place = lambda: Place("paris", "eu", ("127.0.0.1:9",), "0" * 64)
    mode = parse_mode("1+1")
    fleet.opened(
        CodedDisks(DISK, fleet.places(), paris.dc_id, mode, clock=SystemClock(), side=SideBySide())
    )
    loop, cut_off = asyncio.get_running_loop(), True

    def ask(_: JoinOffer, token: str, request: str) -> None:
        body = messages.encode_body(messages.PairCall(offer=token, request=request))
        reply = asyncio.run_coroutine_threadsafe(fleet.accept(body), loop).result()
        assert reply is not None and not reply.problem
        if cut_off:
            raise OSError("cut off")

    monkeypatch.setattr(os_node, "_ask", ask)

    async def extend(*disks: str, token: str = "", **more: str) -> NodeConfig:
        token = token or fleet.token(60)[0]
        folders = [tmp_path / one for one in disks]
        return await asyncio.to_thread(
            partial(
                os_node.extend,
                *(root, token),
                disks=folders,
                advertise=[],
                clock=SystemClock(),
                disk=DISK,
                randomness=RANDOMNESS,
                **more,
            )
        )

    token = fleet.token(60)[0]
    with pytest.raises(AdminError, match="cut off"):
        await extend("more", token=token)
    cut_off = False
    config = await extend("more", token=token)
    assert config.disks == [str(tmp_path / "disk"), str(tmp_path / "more")]
    assert os_node._config(root) == config and fleet.state.nodes[0].disks == config.disks
    assert fleet.state.nodes[0].endpoints == ["127.0.0.1:7"]
    assert (tmp_path / "more" / MARK).read_bytes() == mark_of(paris.dc_id)
    # One that was removed is no disk again before it is emptied.
    label = f"os1:{tmp_path / 'disk'}"
    assert fleet.disks is not None
    fleet.disks.disks.absent = {0}  # The other one is there.
    await fleet.remove_disk(label, lost=True)
    with pytest.raises(AdminError, match=r"is a disk of this node already\. If the datacenter has"):
        await extend("disk")
    (tmp_path / "disk" / MARK).unlink()
    (tmp_path / "disk" / "strange").touch()
    with pytest.raises(AdminError, match="is not empty"):
        await extend("disk")
    (tmp_path / "disk" / "strange").unlink()
    assert (await extend("disk")).disks == config.disks
    assert label in [one["disk"] for one in fleet.shown_disks()]
    assert (tmp_path / "disk" / MARK).read_bytes() == mark_of(paris.dc_id)
    # Only addresses, nothing at all, and the token of somebody else.
    assert (await extend(listen="127.0.0.1:8")).listen == "127.0.0.1:8"
    assert fleet.state.nodes[0].endpoints == ["127.0.0.1:8"]
    with pytest.raises(AdminError, match="--disk DIR"):
        await extend()
    other = fleet_of(tmp_path / "tokyo", identity(), record, SystemClock())
    other.place, other.disks = fleet.place, fleet.disks
    with pytest.raises(AdminError, match="a node of paris, and the token is of another"):
        await extend("b", token=other.token(60)[0])
    fleet.close()


async def test_clocks_need_not_agree(tmp_path: Path) -> None:
    """That of the datacenter is an hour ahead, or behind."""
    paris, clock = identity(), Off()
    record = joined(tmp_path / "os1", paris, f"127.0.0.1:{free_port()}")
    node = OsNode(tmp_path / "os1", SystemClock(), DISK, RANDOMNESS)
    await node.start()
    for clock.by_ms in (0, HOUR_MS, -HOUR_MS):
        fleet = fleet_of(tmp_path / "paris", paris, record, clock)
        remote = fleet._remote(record)
        assert (await DISK.run(lambda: remote.call(Ask(wire.LIST, 0))))[0] == Answer()  # noqa: B023
        fleet.close()
    await node.stop()


async def test_a_datacenter_with_another_key_is_not_let_in(tmp_path: Path) -> None:
    paris = identity()
    record = joined(tmp_path / "os1", paris, f"127.0.0.1:{free_port()}")
    node = OsNode(tmp_path / "os1", SystemClock(), DISK, RANDOMNESS)
    await node.start()
    fleet = fleet_of(tmp_path / "tokyo", identity(), record, SystemClock())
    with pytest.raises(OSError):
        await DISK.run(lambda: fleet._remote(record).call(Ask(wire.LIST, 0)))
    fleet.close()
    await node.stop()
