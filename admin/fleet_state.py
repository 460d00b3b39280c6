"""DIR/disks.json: the machines and disks that were added to a datacenter, and what leaves it.

Disks that `farshore init` was given stand in farshore.toml; this is what commands have changed
since. Written durably and all at once.
"""

from pathlib import Path

import msgspec

from admin.errors import AdminError, os_reason
from admin.layout import PRIVATE, Layout, shown_json
from dc.ports import Disk
from tokens.joining import GATEWAY, OS

VERSION = 2


class NodeRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A machine that gives its disks, or serves S3 clients, or both."""

    name: str
    node_id: str
    endpoints: list[str]
    fingerprint: str
    """Of its certificate."""
    signing_key: bytes
    host: str
    """Its failure domain."""
    disks: list[str]
    """The paths on the machine, for people; they are asked for by number."""
    joined: str
    roles: list[str] = msgspec.field(default_factory=lambda: [OS])

    @property
    def is_gateway(self) -> bool:
        return GATEWAY in self.roles

    def label(self, number: int) -> str:
        return f"{self.name}:{self.disks[number]}"


class _Version(msgspec.Struct, frozen=True):
    """What is read first: all else may be different in another version."""

    version: int


class FleetState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`removed`: labels of disks that are none any more. `used`: joining tokens by their id, with
    when they expire (epoch seconds) and who used them."""

    version: int = VERSION
    nodes: list[NodeRecord] = []
    disks: list[str] = []
    draining: list[str] = []
    removed: list[str] = []
    used: dict[str, tuple[int, str]] = {}

    def node(self, name: str) -> NodeRecord | None:
        return next((one for one in self.nodes if one.name == name), None)


def read_state(layout: Layout) -> FleetState:
    """AdminError when the file cannot be read, or is of a newer program."""
    path = layout.disks
    try:
        data = path.read_bytes()
        if msgspec.json.decode(data, type=_Version).version > VERSION:
            raise AdminError(f"{path} was written by a newer farshore: run that one")
        return msgspec.json.decode(data, type=FleetState)
    except FileNotFoundError:
        return FleetState()
    except OSError as error:
        raise AdminError(os_reason(error, path)) from None
    except msgspec.MsgspecError as error:
        raise AdminError(f"{path} is damaged: restore it from a backup ({error})") from None


def write_state(path: Path, state: FleetState, disk: Disk) -> None:
    """OSError when it could not be made durable."""
    state = msgspec.structs.replace(state, version=VERSION)
    text = shown_json(state)
    disk.write_atomic(path, text, PRIVATE)
