"""The parts of a datacenter, put together: the one place that knows which class is which.

`open_parts` reads DIR and opens everything that listens to nobody yet; `admin/node.py` starts and
stops it.
"""

from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from admin.api import Peers
from admin.errors import AdminError, os_reason
from admin.layout import Layout
from admin.peering import NoPeering
from dc import config as configuration
from dc.accounts import Accounts
from dc.config import Config, ConfigError
from dc.names.api import Names
from dc.names.service import open_names
from dc.objects.api import ObjectStore
from dc.objects.store import ContainerStore
from dc.ports import Clock, Disk, Network, Randomness
from dc.system import SystemDatabases
from gateway import context as gateway_context
from gateway.service import Gateway
from tokens.errors import TokensError
from tokens.identity import Identity
from tokens.private_file import check_private_mode
from tokens.secret_store import SecretStore

REGION_ALIASES = frozenset({"us-east-1"})
"""What clients sign for that were told no region."""


class Peering(Peers, Protocol):
    """Replication with other datacenters, as a node runs it."""

    async def start(self) -> int:
        """Listen for peers and start to follow them; the port that was bound."""
        ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Files:
    """What DIR says, read and checked."""

    layout: Layout
    config: Config
    identity: Identity
    certificate: str
    data_key: bytes
    admin_token: str


@dataclass(frozen=True, slots=True)
class Parts:
    """A datacenter that is open, and not yet started."""

    files: Files
    names: Names
    objects: ObjectStore
    accounts: Accounts
    s3: web.Server
    peering: Peering


class _Credentials:
    """`Accounts` as the gateway wants it."""

    def __init__(self, accounts: Accounts) -> None:
        self._lookup = accounts.lookup

    def lookup(self, access_key: str) -> gateway_context.Credential | None:
        found = self._lookup(access_key)
        return None if found is None else gateway_context.Credential(found.user, found.secret)


def read_files(layout: Layout) -> Files:
    """AdminError says which file is wrong, and how."""
    try:
        config = configuration.load(layout.config)
        for path in layout.secrets:
            check_private_mode(path)
        certificate = layout.certificate.read_text()
        identity = Identity.load(layout.identity.read_bytes())
        data_key = layout.data_key.read_bytes()
        admin_token = layout.admin_token.read_text().strip()
    except (ConfigError, TokensError) as error:
        raise AdminError(str(error)) from None
    except FileNotFoundError as error:
        raise AdminError(f"{error.filename} is missing: restore it from a backup") from None
    except OSError as error:
        raise AdminError(os_reason(error)) from None
    if len(admin_token) < 32:
        raise AdminError(f"{layout.admin_token} is damaged: restore it from a backup")
    return Files(layout, config, identity, certificate, data_key, admin_token)


async def open_parts(
    files: Files,
    peer_ports: list[int],
    *,
    clock: Clock,
    disk: Disk,
    randomness: Randomness,
    network: Network,
) -> Parts:
    """Open the databases and containers. `peer_ports`: the ports to try for peers, 0 is any."""
    layout, config = files.layout, files.config
    secrets = SecretStore(files.data_key, randomness.token)
    names = await open_names(
        layout.names / "names.db",
        databases=SystemDatabases(),
        clock=clock,
        randomness=randomness,
        dc_id=files.identity.dc_id,
    )
    objects = ContainerStore(layout.root, disk=disk, clock=clock, randomness=randomness)
    try:
        await objects.open()
        accounts = Accounts(names, secrets, randomness)
        gateway = Gateway(
            names=names,
            objects=objects,
            credentials=_Credentials(accounts),
            clock=clock,
            randomness=randomness,
            config=gateway_context.Config(
                region=config.region,
                region_aliases=REGION_ALIASES,
                base_domains=tuple(config.s3.base_domains),
                host_id=config.name,
            ),
            offload=disk,
        )
        peering = NoPeering(names)
    except BaseException:
        await names.close()
        raise
    return Parts(files, names, objects, accounts, gateway.server(), peering)
