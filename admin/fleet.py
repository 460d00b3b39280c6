"""The disks and machines of a datacenter while it runs: joining, draining, leaving.

A node joins with a token that `farshore node add` makes (`tokens/joining.py`), by the listener for
other datacenters; it is recorded, with the token as used, before it is answered. What is recorded
counts at once and after each start (`admin/fleet_state.py`).

A disk leaves in two steps: it is *drained*, which moves what is on it to the others, as a repair
does, while everything goes on; and *removed* when it is empty. A disk that is lost can be removed
as it is, if every container can do without it. A node leaves by releasing all of its disks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog

from admin.disks import apart, check_empty, has_mark, make_disk
from admin.errors import AdminError
from admin.fleet_shown import shown_disks, shown_node
from admin.fleet_state import FleetState, NodeRecord, read_state, write_state
from admin.gateways import GatewayAt, Gateways
from admin.layout import Layout, disk_folders
from admin.leaving import check_here, check_hosts, check_left, check_removable, without
from admin.reply import utc
from dc.config import Config
from dc.objects.coded_disks import CodedDisks
from dc.objects.disk_place import DiskPlace
from dc.objects.nodes.client import NodeAddress, Prove, RemoteDisk, RemoteNode
from dc.ports import Clock, Disk, Randomness
from dc.system import dial
from replicator import messages
from replicator.errors import WireError
from tokens import joining
from tokens.claims import new_jti
from tokens.errors import TokenError
from tokens.hello import sign_answer
from tokens.identity import Identity
from tokens.joining import OS
from tokens.limits import CLOCK_SKEW_SECONDS
from tokens.place import Place, parse_endpoint

log = structlog.get_logger("fleet")

NODES_MAX = 64


class Fleet:
    """Of one datacenter. `disks` is set when they are open."""

    def __init__(
        self,
        layout: Layout,
        config: Config,
        identity: Identity,
        *,
        clock: Clock,
        disk: Disk,
        randomness: Randomness,
    ) -> None:
        """Reads DIR/disks.json: AdminError."""
        self._layout = layout
        self._config = config
        self._identity = identity
        self._clock = clock
        self._disk = disk
        self._randomness = randomness
        self._state = read_state(layout)
        self._nodes: dict[str, RemoteNode] = {}
        self._changing = asyncio.Lock()
        self.disks: CodedDisks | None = None
        self.gateways: Gateways | None = None
        self.is_gateway = True
        """Whether the datacenter's own process serves S3 clients, too."""
        self.seal: Callable[[], Awaitable[None]] | None = None
        """Ends the writing of all containers: others are begun."""
        self.place: Callable[[], Place] | None = None
        """What this datacenter says of itself."""

    @property
    def state(self) -> FleetState:
        return self._state

    # -- what there is --------------------------------------------------------------------------

    def places(self) -> list[DiskPlace]:
        """All disks: of this machine, then of the nodes."""
        folders = [*disk_folders(self._layout, self._config), *map(Path, self._state.disks)]
        found = [self._local(folder) for folder in folders]
        for node in self._state.nodes:
            found += self._of_node(node)
        return [place for place in found if place.label not in self._state.removed]

    def _local(self, folder: Path) -> DiskPlace:
        return DiskPlace(str(folder), folder, self._disk)

    def _of_node(self, node: NodeRecord) -> list[DiskPlace]:
        remote = self._remote(node)
        return [
            DiskPlace(node.label(number), Path(f"/{number}"), RemoteDisk(remote, number), node.host)
            for number in range(len(node.disks))
        ]

    def _remote(self, node: NodeRecord) -> RemoteNode:
        if node.name not in self._nodes:
            prove = self._prove(node)
            self._nodes[node.name] = RemoteNode(_address(node), prove, self._clock, dial)
        return self._nodes[node.name]

    def _prove(self, node: NodeRecord) -> Prove:
        node_id, mark = node.node_id, node.fingerprint
        return lambda nonce: sign_answer(self._identity, nonce, node_id, mark)

    def gateways_at(self) -> list[GatewayAt]:
        """The nodes that are gateways."""
        return [self._gateway(node) for node in self._state.nodes if node.is_gateway]

    def _gateway(self, node: NodeRecord) -> GatewayAt:
        return GatewayAt(_address(node), self._prove(node))

    def _now(self) -> int:
        """Seconds since 1970."""
        return self._clock.wall_ms() // 1000

    def opened(self, disks: CodedDisks) -> None:
        """The disks are open: those that are to become empty, are to."""
        self.disks = disks
        for label in self._state.draining:
            number = disks.disks.number_of(label)
            if number is not None:
                disks.disks.draining.add(number)

    def close(self) -> None:
        for node in self._nodes.values():
            node.close()

    def _coded(self) -> CodedDisks:
        if self.disks is None:
            raise AdminError(
                "the objects of this datacenter are in its own folder, on one disk: say"
                " objects.redundancy in farshore.toml (and objects.disks), and start it again"
            )
        return self.disks

    def shown_disks(self) -> list[dict[str, Any]]:
        """For the admin API."""
        return [] if self.disks is None else shown_disks(self.disks)

    def shown_nodes(self) -> list[dict[str, Any]]:
        """The same of the nodes."""
        by_label = {one["disk"]: one for one in self.shown_disks()}
        return [
            shown_node(node, by_label, self.gateways.state(node.name) if self.gateways else "")
            | {"problem": self._problem(node.name)}
            for node in self._state.nodes
        ]

    def _problem(self, name: str) -> str:
        """Why the disks of a node cannot be asked, if that is so."""
        remote = self._nodes.get(name)
        return remote.problem if remote is not None else ""

    # -- joining --------------------------------------------------------------------------------

    def token(self, lifetime_seconds: int, roles: Sequence[str] = (OS,)) -> tuple[str, int]:
        """A token for one node, and when it expires (epoch seconds)."""
        if OS in roles:
            self._coded()
        assert self.place is not None
        now = self._now()
        token = joining.issue(
            self._identity,
            self.place(),
            now=now,
            jti=new_jti(self._randomness.token),
            roles=roles,
            lifetime_seconds=lifetime_seconds,
        )
        return token, now + lifetime_seconds

    async def accept(self, body: bytes) -> messages.PairReply | None:
        """What is answered to who wants to be a node; None to who has no token of this DC."""
        try:
            call = messages.decode_body(body, messages.PairCall)
            now = self._now()
            offer = joining.read(call.offer, now)
            if offer.dc != self._identity.public:
                return None
            asked = joining.read_request(call.request, self._identity.dc_id, now)
        except (TokenError, WireError):
            return None
        if asked.offer_jti != offer.jti:
            return None
        try:
            async with self._changing:
                await self._join(offer, asked)
        except AdminError as error:
            return messages.PairReply(problem=str(error))
        return messages.PairReply(answer=self._identity.dc_id)

    async def _join(self, offer: joining.JoinOffer, asked: joining.JoinRequest) -> None:
        state = self._state
        name, node_id = asked.place.name, asked.node.dc_id
        there = next((one for one in state.nodes if one.node_id == node_id), None)
        # Who heard no answer asks again.
        if offer.jti in state.used and (there is None or state.used[offer.jti][1] != node_id):
            raise AdminError("the token was used already: make a new one with `farshore node add`")
        if there is None and state.node(name) is not None:
            raise AdminError(f"there is a node {name} already: give this one another name")
        if OS in asked.roles:
            self._coded()
        if not set(asked.roles) <= set(offer.roles):
            raise AdminError(f"the token makes a node {' and '.join(offer.roles)} only")
        if there is not None:
            _check_same(there, asked)
        if there is None and len(state.nodes) >= NODES_MAX:
            raise AdminError(f"a datacenter has at most {NODES_MAX} nodes")
        now = self._now()
        node = NodeRecord(
            name=name,
            node_id=node_id,
            endpoints=list(asked.place.endpoints),
            fingerprint=asked.place.fingerprint,
            signing_key=asked.node.signing_key,
            host=asked.host,
            disks=asked.disks,
            roles=asked.roles,
            joined=utc(now),
        )
        used = {jti: one for jti, one in state.used.items() if one[0] > now}
        used[offer.jti] = (offer.expires_at + CLOCK_SKEW_SECONDS, node.node_id)
        labels = {node.label(number) for number in range(len(node.disks))}
        if there is not None:
            labels = {f"{name}:{one}" for one in asked.again}
        await self._write(
            msgspec.structs.replace(
                state,
                nodes=[one for one in state.nodes if one.name != name] + [node],
                removed=[one for one in state.removed if one not in labels],
                used=used,
            )
        )
        if node.disks:
            remote = self._remote(node)
            remote.address, remote.prove = _address(node), self._prove(node)
            self._add_places(node)
        if node.is_gateway and self.gateways is not None:
            self.gateways.add(self._gateway(node))
        if there != node:
            log.info("a node has joined", node=name, disks=len(node.disks))

    def _add_places(self, node: NodeRecord) -> None:
        """Take the disks of a node that are not known yet."""
        disks = self._coded()
        for place in self._of_node(node):
            is_known = disks.disks.number_of(place.label) is not None
            if not is_known and place.label not in self._state.removed:
                disks.add_place(place)
                log.info("a disk was added", disk=place.label)

    async def _write(self, state: FleetState) -> None:
        path = self._layout.disks
        try:
            await self._disk.run(lambda: write_state(path, state, self._disk))
        except OSError as error:
            raise AdminError(f"{path} cannot be written: {error.strerror}") from None
        self._state = state

    # -- disks ------------------------------------------------------------------------------------

    async def add_disk(self, folder: Path) -> None:
        """An empty folder of this machine becomes a disk. AdminError."""
        async with self._changing:
            disks, label = self._coded(), str(folder)
            if disks.disks.number_of(label) is not None:
                raise AdminError(f"{label} is a disk of this datacenter already")
            await self._disk.run(lambda: self._make_disk(folder))
            await self._write(
                msgspec.structs.replace(
                    self._state,
                    disks=[one for one in self._state.disks if one != label] + [label],
                    removed=[one for one in self._state.removed if one != label],
                )
            )
            disks.add_place(self._local(folder))
            log.info("a disk was added", disk=label)

    def _make_disk(self, folder: Path) -> None:
        dc_id = self._identity.dc_id
        try:
            if not folder.is_absolute():
                raise AdminError(f"{folder} is no path from the root")
            for place in self.places():
                if not place.host:
                    apart(folder, place.folder)
            if has_mark(folder, dc_id):
                return  # It was removed, and comes back.
            check_empty(folder)
            make_disk(folder, dc_id, self._disk)
        except OSError as error:
            raise AdminError(f"{folder} cannot be used: {error.strerror}") from None

    async def drain(
        self, labels: Sequence[str], *, undo: bool = False, fewer_hosts: bool = False
    ) -> None:
        """Let disks become empty, or no more. AdminError when the others would be too few, or,
        without `fewer_hosts`, on too few hosts."""
        async with self._changing:
            disks = self._coded()
            numbers = {self._number(label) for label in labels}
            if not labels:
                return  # Of a node whose disks are removed already.
            before, asked = set(self._state.draining), set(labels)
            after = before - asked if undo else before | asked
            if not undo:
                check_left(disks, numbers)
                if not fewer_hosts:
                    check_hosts(disks, numbers)
            await self._write(msgspec.structs.replace(self._state, draining=sorted(after)))
            if undo:
                disks.disks.draining -= numbers
                return
            disks.disks.draining |= numbers
            await self._write_elsewhere()

    async def _write_elsewhere(self) -> None:
        """Let nothing be written to disks that are to become empty: what is open stays where it is,
        and one that is being begun may have chosen its disks before."""
        assert self.seal is not None
        await self.seal()

    def _number(self, label: str) -> int:
        number = self._coded().disks.number_of(label)
        if number is None:
            known = ", ".join(one["disk"] for one in self.shown_disks())
            raise AdminError(f"there is no disk {label[:200]!r}: there are {known}")
        return number

    async def remove_disk(self, label: str, *, lost: bool = False) -> None:
        """Forget a disk that is empty; with `lost` one that is not there and will not come back.
        AdminError when something is on it that others do not have."""
        async with self._changing:
            await self._remove([label], lost)

    async def _remove(self, labels: Sequence[str], lost: bool, node: str = "") -> None:
        """Forget disks, and the node that they are all of. It is written down at once: there is
        nothing in between that a crash could leave."""
        numbers = await self._removable(labels, lost) if labels else []
        gone, state = set(labels), self._state
        removed = {*state.removed, *gone}
        if node:
            removed = {one for one in removed if not one.startswith(f"{node}:")}
        await self._write(
            msgspec.structs.replace(
                state,
                nodes=[one for one in state.nodes if one.name != node],
                draining=[one for one in state.draining if one not in gone],
                removed=sorted(removed),
            )
        )
        for number in numbers:
            disks = self._coded()
            await disks.run(partial(disks.remove_place, number))
        log.info("disks were removed", disks=list(labels))

    async def _removable(self, labels: Sequence[str], lost: bool) -> list[int]:
        """These disks. AdminError when one is needed."""
        disks = self._coded()
        numbers = [self._number(label) for label in labels]
        for number, label in zip(numbers, labels, strict=True):
            check_removable(disks, number, label, lost)
        if lost:
            check_here(disks, set(numbers))
            if bad := await disks.run(lambda: without(disks, set(numbers))):
                raise AdminError(
                    f"{bad} containers have too few fragments without it: bring it back, or wait"
                    " for the repair of others"
                )
        for number in numbers if not lost else ():
            await disks.run(partial(self._settle, disks.disks.places[number]))
        return numbers

    def _settle(self, place: DiskPlace) -> None:
        """What was removed from a disk is so for good: nobody removes it again when the disk is
        forgotten."""
        try:
            place.disk.sync_dir(place.containers)
        except OSError as error:
            raise AdminError(f"{place.label} cannot be written: {error.strerror}") from None

    async def destroy(self) -> None:
        """Delete all containers. AdminError when some are left."""
        disks = self._coded()
        disks.disks.draining |= set(disks.disks.numbers())
        await self._write_elsewhere()

        def work() -> int:
            for name in disks.list_dir(self._layout.containers):
                disks.remove(Path(name))
            return len(disks.list_dir(self._layout.containers))

        if await disks.run(work):
            raise AdminError("containers are being written: end all clients first")
        log.warning("all containers were deleted")

    # -- nodes ------------------------------------------------------------------------------------

    def _node(self, name: str) -> NodeRecord:
        node = self._state.node(name)
        if node is None:
            raise AdminError(f"there is no node {name[:80]!r}")
        return node

    def labels_of(self, name: str) -> list[str]:
        """The disks of a node that were not removed."""
        node = self._node(name)
        labels = [node.label(number) for number in range(len(node.disks))]
        return [label for label in labels if label not in self._state.removed]

    def check_gateways(self, name: str) -> None:
        """AdminError when clients would have no gateway without this node."""
        gateways = self.gateways
        if not self._node(name).is_gateway or self.is_gateway or gateways is None:
            return
        if not gateways.connected() - {name}:
            raise AdminError(
                f"{name} is the last gateway that is connected: clients would have none. Start"
                " another, or serve the datacenter with the role gateway, first"
            )

    async def forget_node(self, name: str, *, lost: bool = False) -> None:
        """Let a node go whose disks are empty; with `lost` one that will not come back."""
        async with self._changing:
            node = self._node(name)
            if not lost:
                self.check_gateways(name)
            # First it serves nobody any more: a datacenter that ends in between still knows of it,
            # and waits for its lease when it is started again.
            if self.gateways is not None:
                await self.gateways.remove(name)
            try:
                await self._remove(self.labels_of(name), lost, name)
            except BaseException:
                if node.is_gateway and self.gateways is not None:
                    self.gateways.add(self._gateway(node))
                raise
            remote = self._nodes.pop(name, None)
            if remote is not None:
                remote.close()
            log.info("a node was released", node=name)


def _check_same(there: NodeRecord, asked: joining.JoinRequest) -> None:
    """AdminError when a node that has joined asks as another one. It may have more disks: behind
    the others, which are known by their numbers."""
    before = asked.disks[: len(there.disks)]
    was = (there.name, there.host, there.disks, there.roles)
    if was != (asked.place.name, asked.host, before, asked.roles):
        raise AdminError(
            f"it is the node {there.name} already ({' and '.join(there.roles)}), with host"
            f" {there.host} and the disks {', '.join(there.disks) or 'none'}: join with these"
            " and new ones, or release it first (--lost)"
        )


def _address(node: NodeRecord) -> NodeAddress:
    endpoints = tuple((at.host, at.port) for at in map(parse_endpoint, node.endpoints))
    return NodeAddress(node.name, endpoints, node.fingerprint)
