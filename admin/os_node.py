"""A node: a machine that gives its disks to a datacenter, or serves S3 clients for it, or both.
`farshore node join` makes one.

Its folder (NODE):

    node.json       whose node it is, what it is, where it listens, which disks it gives; written
                    last
    identity        the keys that say who this node is                      secret
    node.crt        certificate of its listener
    node.key        its key                                                 secret
    farshore.lock   locked by the process that serves NODE
    run.json        pid and bound address of the last process that served NODE
"""

import asyncio
import http.client
import itertools
import os
import ssl
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

from admin.disks import apart, check_empty, has_mark, make_disk
from admin.errors import AdminError, os_reason
from admin.layout import PRIVATE, PRIVATE_FOLDER, Lock, shown_json
from dc.config import bracketed, parse_listen
from dc.objects.nodes.server import NodeServer
from dc.objects.nodes.wire import Ask
from dc.ports import Clock, Disk, Randomness
from dc.system import keep_alive, pinned
from replicator import messages
from replicator.channel import server_context
from replicator.errors import WireError
from replicator.wire import PROTOCOL
from tokens import joining
from tokens.errors import PlaceInvalid, TokenAltered, TokensError
from tokens.fingerprint import fingerprint
from tokens.hello import check_answer
from tokens.identity import Identity
from tokens.joining import GATEWAY, OS
from tokens.place import Place, parse_endpoint
from tokens.private_file import check_private_mode

log = structlog.get_logger("node")

NODE_FILE = "node.json"
_ANSWER_BYTES_MAX = 64 << 10
_SECONDS_MAX = 10.0
_STOP_SECONDS_MAX = 5.0


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """node.json."""

    name: str
    host: str
    listen: str
    disks: list[str]
    dc_id: str
    dc_name: str
    dc_key: bytes
    """The datacenter's signing key: who can sign with it, is it."""
    s3: str = ""
    """Where a gateway listens for S3 clients; "" of a node that is none."""
    metrics: str = ""
    """Where a gateway listens for Prometheus; "" when it does not."""
    advertise: list[str] = []
    """Where the datacenter reaches it, if not where it listens."""

    @property
    def roles(self) -> list[str]:
        return [OS] * bool(self.disks) + [GATEWAY] * bool(self.s3)


def is_node(root: Path) -> bool:
    return (root / NODE_FILE).is_file()


def join(
    root: Path,
    token: str,
    *,
    name: str,
    listen: str,
    advertise: list[str],
    host: str,
    disks: list[Path],
    s3: str,
    metrics: str = "",
    clock: Clock,
    disk: Disk,
    randomness: Randomness,
) -> NodeConfig:
    """Make this machine a node of the datacenter that issued the token. AdminError when that is
    refused, by anybody; nothing counts then, and it can be tried again."""
    if is_node(root):
        raise AdminError(f"{root} is a node already: start it with `farshore serve {root}`")
    now = clock.wall_ms() // 1000
    try:
        offer = joining.read(token, now)
        _check_listen(listen, advertise)
        roles = _roles(disks, s3, offer.roles)
        _check_apart(listen, s3, metrics)
        identity, mark = _keys(root, clock, disk, randomness)
        place = Place(name, offer.place.region, tuple(advertise or [listen]), mark)
        folders = [folder.absolute() for folder in disks]
        _check_disks(folders, offer.dc.dc_id, folders)
        request = joining.issue_request(
            identity,
            place,
            offer,
            host=host,
            disks=[str(one) for one in folders],
            roles=roles,
            now=now,
        )
        _ask(offer, token.strip(), request)
        for folder in folders:
            make_disk(folder, offer.dc.dc_id, disk)
        config = NodeConfig(
            name=name,
            host=host,
            listen=listen,
            disks=[str(folder) for folder in folders],
            dc_id=offer.dc.dc_id,
            dc_name=offer.place.name,
            dc_key=offer.dc.signing_key,
            s3=s3,
            metrics=metrics,
            advertise=advertise,
        )
        disk.write_atomic(root / NODE_FILE, shown_json(config), PRIVATE)
    except TokensError as error:
        raise AdminError(str(error)) from None
    except OSError as error:
        raise AdminError(os_reason(error, root)) from None
    return config


def extend(
    root: Path,
    token: str,
    *,
    disks: list[Path],
    listen: str = "",
    advertise: list[str],
    clock: Clock,
    disk: Disk,
    randomness: Randomness,
) -> NodeConfig:
    """Give the datacenter more disks of a node that has joined: folders that are new, or disks of
    the node that are empty now. Addresses stay, unless they are given. AdminError; it can be tried
    again."""
    now = clock.wall_ms() // 1000
    try:
        config = _config(root)
        offer = joining.read(token, now)
        if offer.dc.signing_key != config.dc_key:
            raise AdminError(f"{root} is a node of {config.dc_name}, and the token is of another")
        if not disks and not listen and not advertise:
            raise AdminError(f"{root} is a node already: name one more folder, --disk DIR")
        advertise = advertise or ([] if listen else config.advertise)
        listen = listen or config.listen
        _check_listen(listen, advertise)
        _check_apart(listen, config.s3, config.metrics)
        folders = [folder.absolute() for folder in disks]
        new = [folder for folder in folders if str(folder) not in config.disks]
        again = [folder for folder in folders if str(folder) in config.disks]
        _check_disks([*map(Path, config.disks), *new], offer.dc.dc_id, new)
        for folder in again:
            if has_mark(folder, offer.dc.dc_id):
                raise AdminError(
                    f"{folder} is a disk of this node already. If the datacenter has removed it,"
                    " or it is to begin anew: empty the folder first"
                )
            check_empty(folder)
        identity, mark = _keys(root, clock, disk, randomness)
        place = Place(config.name, offer.place.region, tuple(advertise or [listen]), mark)
        config = msgspec.structs.replace(
            config,
            listen=listen,
            advertise=advertise,
            disks=[*config.disks, *map(str, new)],
        )
        request = joining.issue_request(
            identity,
            place,
            offer,
            host=config.host,
            disks=config.disks,
            roles=config.roles,
            again=[str(folder) for folder in again],
            now=now,
        )
        _ask(offer, token.strip(), request)
        # With the marks last: who was cut off in between asks for the same again.
        disk.write_atomic(root / NODE_FILE, shown_json(config), PRIVATE)
        for folder in folders:
            make_disk(folder, offer.dc.dc_id, disk)
    except (TokensError, msgspec.MsgspecError) as error:
        raise AdminError(str(error)) from None
    except OSError as error:
        raise AdminError(os_reason(error, root)) from None
    return config


def _config(root: Path) -> NodeConfig:
    return msgspec.json.decode((root / NODE_FILE).read_bytes(), type=NodeConfig)


def _roles(disks: list[Path], s3: str, wanted: list[str]) -> list[str]:
    """What the node is to be, by what it was given. AdminError when the token is for more."""
    roles = [OS] * bool(disks) + [GATEWAY] * bool(s3)
    if OS in wanted and not disks:
        raise AdminError("name at least one folder for a disk: --disk DIR")
    if GATEWAY in wanted and not s3:
        raise AdminError("say where S3 clients are served: --s3 HOST:PORT")
    return roles


def _check_apart(listen: str, s3: str, metrics: str) -> None:
    """AdminError when two listeners are to have one address, or one is none."""
    if metrics and not s3:
        raise AdminError("--metrics is for gateways, which have --s3, too")
    options = {"--listen": listen, "--s3": s3, "--metrics": metrics}
    given = {name: at for name, at in options.items() if at}
    for name, at in given.items():
        try:
            parse_listen(at)
        except ValueError as error:
            raise AdminError(f"{name}: {error}") from None
        for other, there in given.items():
            if other < name and there == at:
                raise AdminError(f"{name} and {other} are both {at}: each needs a port of its own")


def _check_listen(listen: str, advertise: list[str]) -> None:
    try:
        _, port = parse_listen(listen)
    except ValueError as error:
        raise AdminError(str(error)) from None
    if not port:
        raise AdminError("a node listens on a port of its own: port 0 will not do")
    for each in advertise or [listen]:
        try:
            parse_endpoint(each)
        except PlaceInvalid as error:
            raise AdminError(f"{error}; say --advertise HOST:PORT") from None


def _keys(root: Path, clock: Clock, disk: Disk, randomness: Randomness) -> tuple[Identity, str]:
    """The node's identity and the fingerprint of its certificate; made if they are not there."""
    from tokens.certificate import make_certificate  # it loads a large library

    disk.make_dirs(root, PRIVATE_FOLDER)
    path = root / "identity"
    if path.exists():
        return Identity.load(path.read_bytes()), fingerprint((root / "node.crt").read_bytes())
    if strange := sorted(root.iterdir()):
        raise AdminError(f"{root} is not empty, there is {strange[0].name!r} in it")
    identity = Identity.generate(randomness.token)
    yesterday = datetime.fromtimestamp(clock.wall_ms() / 1000, UTC) - timedelta(days=1)
    certificate, key = make_certificate(identity.dc_id, yesterday)
    disk.write_atomic(root / "node.key", key, PRIVATE)
    disk.write_atomic(root / "node.crt", certificate)
    disk.write_atomic(path, identity.dump(), PRIVATE)
    return identity, fingerprint(certificate)


def _check_disks(folders: list[Path], dc_id: str, new: list[Path]) -> None:
    """AdminError when two are one folder, or there is something else in one that is new."""
    for one, two in itertools.combinations(folders, 2):
        apart(one, two)
    for folder in new:
        if not has_mark(folder, dc_id):
            check_empty(folder)


def _ask(offer: joining.JoinOffer, token: str, request: str) -> None:
    """Ask the datacenter to be its node. AdminError when it does not agree."""
    endpoints = tuple((at.host, at.port) for at in map(parse_endpoint, offer.place.endpoints))
    body = messages.encode_body(messages.PairCall(offer=token, request=request))
    where = f"the datacenter {offer.place.name}"
    try:
        connection = http.client.HTTPConnection(offer.place.endpoints[0])
        connection.sock = pinned(endpoints, offer.place.fingerprint, _SECONDS_MAX, _SECONDS_MAX)
        try:
            connection.request("POST", f"/{PROTOCOL}/node", body)
            response = connection.getresponse()
            data = response.read(_ANSWER_BYTES_MAX)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise AdminError(f"{where} cannot be asked: {error}") from None
    if response.status not in (200, 409):
        raise AdminError(
            f"{where} does not accept the token: make a new one there with `farshore node add`,"
            " and see that both clocks are right"
        )
    try:
        reply = messages.decode_body(data, messages.PairReply)
    except WireError as error:
        raise AdminError(f"{where} does not answer as it should: {error}") from None
    if not reply.answer:
        raise AdminError(f"{where} refuses: {reply.problem}")


class Gateway(Protocol):
    """What a node does that is a gateway (`admin/gateway_node.py`)."""

    protocol: str
    """What it is asked with."""

    async def adopt(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ask: Ask
    ) -> None: ...

    async def stop(self) -> None: ...


def _chosen(config: NodeConfig, wanted: Collection[str]) -> list[str]:
    """The roles to serve. AdminError when the node cannot have one."""
    for role in wanted:
        if role not in config.roles:
            can = " and ".join(config.roles)
            raise AdminError(f"the node {config.name} is {can}: it cannot be {role}")
    return [role for role in config.roles if not wanted or role in wanted]


# -- serving ------------------------------------------------------------------------------------


class OsNode:
    """One NODE, served by this process."""

    def __init__(
        self,
        root: Path,
        clock: Clock,
        disk: Disk,
        randomness: Randomness,
        roles: Collection[str] = (),
    ) -> None:
        """`roles`: what of that which it can be it is to be now; all without."""
        self._root = root
        self._roles = roles
        self._clock = clock
        self._disk = disk
        self._randomness = randomness
        self._lock = Lock(root / "farshore.lock", f"the node in {root}")
        self._server: NodeServer | None = None
        self._gateway: Gateway | None = None

    async def start(self) -> None:
        """AdminError when it cannot be."""
        self._lock.acquire()
        try:
            await self._start()
        except (OSError, TokensError, msgspec.MsgspecError, ssl.SSLError) as error:
            self._lock.release()
            raise AdminError(f"the node in {self._root} cannot start: {error}") from None

    async def _start(self) -> None:
        root = self._root
        config = _config(root)
        for name in ("identity", "node.key"):
            check_private_mode(root / name)
        identity = Identity.load((root / "identity").read_bytes())
        tls = server_context(root / "node.crt", root / "node.key")
        mark = fingerprint((root / "node.crt").read_bytes())

        def check(nonce: bytes, signature: bytes) -> bool:
            try:
                check_answer(config.dc_key, nonce, signature, identity.dc_id, mark)
            except TokenAltered:
                log.warning("a caller was refused", reason="it is not the datacenter of this node")
                return False
            return True

        roles = _chosen(config, self._roles)
        run: dict[str, Any] = {"pid": os.getpid(), "roles": roles}
        if GATEWAY in roles:
            self._gateway = await self._start_gateway(config, run)
        folders = [Path(each) for each in config.disks] if OS in roles else []
        adopts = {} if self._gateway is None else {self._gateway.protocol: self._gateway.adopt}
        server = NodeServer(self._disk, folders, check, self._randomness.token, keep_alive, adopts)
        host, port = parse_listen(config.listen)
        bound = await server.start(host, port, tls)
        self._server = server
        run["listen"] = f"{bracketed(host)}:{bound}"
        encoded = shown_json(run)
        await self._disk.run(lambda: self._disk.write_atomic(root / "run.json", encoded))
        log.info("serving", node=config.name, datacenter=config.dc_name, **run)

    async def _start_gateway(self, config: NodeConfig, run: dict[str, Any]) -> Gateway:
        from admin.gateway_node import GatewayNode  # it loads all of S3

        gateway = GatewayNode(self._clock, self._disk, self._randomness)
        host, port = parse_listen(config.s3)
        run["s3"] = {"host": host, "port": await gateway.start(host, port)}
        if config.metrics:
            host, port = parse_listen(config.metrics)
            bound = await gateway.start_metrics(config.name, host, port)
            run["metrics"] = {"host": host, "port": bound}
        return gateway

    async def stop(self) -> None:
        if self._gateway is not None:
            await self._gateway.stop()
        if self._server is not None:
            try:
                await asyncio.wait_for(self._server.stop(), _STOP_SECONDS_MAX)
                log.info("stopped")
            except TimeoutError:
                log.warning("did not stop in time, cut off")
        self._lock.release()
