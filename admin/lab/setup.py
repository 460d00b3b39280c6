"""The lab's folders: a datacenter in each, made when it is not there, with ports of its own.

Ports are chosen once and then stand in each farshore.toml: 8001, 7001 and 9001 upwards, or free
ones where those are taken. `lab.json` (mode 0600) keeps the names in order and the demo user.
"""

import socket
from pathlib import Path

import msgspec

from admin.errors import AdminError, UsageError
from admin.initialize import initialize
from admin.lab.demo import DemoUser
from admin.layout import PRIVATE, PRIVATE_FOLDER, Layout, existing, shown_json
from dc import config as configuration
from dc.config import S3, Admin, Config, Objects, Peer, is_name, parse_listen
from dc.ports import Clock, Disk, Randomness

NAMES = [
    *("paris", "tokyo", "austin", "nairobi", "lima", "oslo", "sydney", "mumbai"),
    *("cairo", "quito", "seoul", "dublin", "accra", "hanoi", "porto", "boston"),
]
HOST = "127.0.0.1"
FIRST_PORTS = {"s3": 8001, "peer": 7001, "admin": 9001}


class LabFile(msgspec.Struct, forbid_unknown_fields=True):
    """lab.json."""

    names: list[str] = []
    nodes: int = 0
    """Of each datacenter, a disk each;"""
    gateways: int = 0
    """and such that are gateways."""
    redundancy: str = "1+0"
    """Of those that are made."""
    user: DemoUser | None = None


def load_lab(folder: Path) -> LabFile:
    path = folder / "lab.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=LabFile)
    except FileNotFoundError:
        return LabFile()
    except msgspec.MsgspecError as error:
        raise AdminError(f"{path} is damaged ({error}): remove {folder} to start afresh") from None


def save_lab(folder: Path, lab: LabFile, disk: Disk) -> None:
    encoded = shown_json(lab)
    disk.write_atomic(folder / "lab.json", encoded, PRIVATE)


def choose_names(wanted: list[str], count: int | None, before: list[str]) -> list[str]:
    """Which datacenters to run: those asked for by name, else those of the last time, cut or
    filled up to `count`."""
    if wanted:
        bad = next((name for name in wanted if not is_name(name)), None)
        if bad is not None:
            raise UsageError(f"{bad!r} is not a valid name: {configuration.NAME_RULE}")
        if len(set(wanted)) != len(wanted):
            raise UsageError("a name is given twice: every datacenter has a name of its own")
        return wanted
    count = count or len(before) or 2
    return (before + [name for name in NAMES if name not in before])[:count]


def ensure_datacenters(
    folder: Path,
    names: list[str],
    redundancy: str,
    clock: Clock,
    disk: Disk,
    randomness: Randomness,
) -> dict[str, Config]:
    """The configuration of every datacenter, in order; those that are missing are made."""
    disk.make_dirs(folder, PRIVATE_FOLDER)
    configs: dict[str, Config] = {}
    used: set[int] = set()
    for name in names:
        if (layout := Layout(folder / name)).config.exists():
            try:
                configs[name] = configuration.load(existing(layout.root).config)
            except configuration.ConfigError as error:
                raise AdminError(str(error)) from None
            config = configs[name]
            listens = (config.s3.listen, config.peer.listen, config.admin.listen)
            used.update(parse_listen(listen)[1] for listen in listens)
    for name in names:
        if name not in configs:
            configs[name] = config = _config(name, redundancy, used)
            initialize(folder / name, config, clock, disk, randomness)
    return {name: configs[name] for name in names}


def _config(name: str, redundancy: str, used: set[int]) -> Config:
    at = {what: f"{HOST}:{_port(first, used)}" for what, first in FIRST_PORTS.items()}
    return Config(
        name=name,
        region=name,
        s3=S3(listen=at["s3"]),
        peer=Peer(listen=at["peer"]),
        admin=Admin(listen=at["admin"]),
        objects=Objects(redundancy=redundancy),
    )


def free_port() -> int:
    return _port(0, set())


def _port(first: int, used: set[int]) -> int:
    """The first free port of 16 from `first`, or any free one; it is marked as used."""
    for wanted in [*range(first, first + 16), *[0] * 16]:
        if wanted in used:
            continue
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((HOST, wanted))
                trial.listen(1)
            except OSError:
                continue
            port: int = trial.getsockname()[1]
        if port not in used:
            used.add(port)
            return port
    raise AdminError(f"there is no free port on {HOST}")
