"""A node and its datacenter in one process: clocks that do not agree, and who is somebody else."""

import socket
from pathlib import Path

import pytest

from admin.fleet import Fleet
from admin.fleet_state import FleetState, NodeRecord, write_state
from admin.layout import Layout, shown_json
from admin.os_node import NODE_FILE, NodeConfig, OsNode, _keys
from dc.config import Config
from dc.objects.marks import MARK, mark_of
from dc.objects.nodes import wire
from dc.objects.nodes.wire import Answer, Ask
from dc.system import SystemClock, SystemDisk, SystemRandomness
from tokens.identity import Identity

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
