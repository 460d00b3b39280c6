"""What the operations are handed: the datacenter's services, and the gateway's settings."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from dc.accounts import Credential as Credential
from dc.keyring import Keyring as Keyring
from dc.names.api import GatewayNames
from dc.names.model import Version
from dc.notary import Proofs as Proofs
from dc.objects.api import ObjectStore
from dc.ports import Randomness
from dc.read_through import Others as Others

T = TypeVar("T")
Replication = Callable[[Version], str]
"""What `x-amz-replication-status` says of a version that was read here; "" for no such header. It
is asked on every GET and HEAD, and answers from memory."""


class Credentials(Protocol):
    """The access keys of this DC, decrypted. It answers from memory: it is asked on every request,
    and must know of a revocation at once."""

    def lookup(self, access_key: str) -> Credential | None: ...


class Offload(Protocol):
    """Does blocking work away from the event loop; a `dc.ports.Disk` is one."""

    async def run(self, work: Callable[[], T]) -> T: ...


def alone(_: Version) -> str:
    """The `Replication` of a DC that will never have a peer."""
    return ""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's settings."""

    region: str
    """The region of this DC: what signatures must name, and where its buckets are made."""
    region_aliases: frozenset[str] = frozenset()
    """Further regions that signatures may name."""
    base_domains: tuple[str, ...] = ("s3.localhost", "localhost")
    """Domains below which the first part of a host name is a bucket; lower-case."""
    website_domains: tuple[str, ...] = ("s3-website.localhost",)
    """Domains below which the first part of a host name is a bucket that is a website."""
    signature_v2: bool = False
    """Whether AWS Signature Version 2 is accepted."""
    notifications: bool = False
    """Whether there is a broker to tell of events."""
    ssec_over_http: bool = False
    """Whether keys of customers (SSE-C) are taken on a connection that is not TLS."""
    host_id: str = ""
    """Sent as x-amz-id-2: which DC has answered."""


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Handed to every operation."""

    names: GatewayNames
    objects: ObjectStore
    keyring: Keyring
    offload: Offload
    randomness: Randomness
    config: Config
    replication: Replication = alone
    others: Others | None = None
    """The other datacenters, to read through; None where they cannot be asked."""
    proofs: Proofs | None = None
    """The notary; None where there is none."""
