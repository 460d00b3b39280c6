"""An S3 gateway put together: of a datacenter's own process, or on another machine."""

from typing import NamedTuple

from dc.keyring import Keyring
from dc.names.api import GatewayNames
from dc.objects.api import ObjectStore
from dc.ports import Clock, Randomness
from dc.remote.wire import Settings
from gateway.access_logs.delivery import AccessLogs
from gateway.context import Config, Credentials, Offload, Others, Proofs, Replication
from gateway.counts import Counts
from gateway.service import Gateway
from tokens.secret_store import SecretStore

REGION_ALIASES = frozenset({"us-east-1"})
"""What clients sign for that were told no region."""


class Outside(NamedTuple):
    """What a gateway takes from its machine."""

    clock: Clock
    randomness: Randomness
    offload: Offload


def make_gateway(
    names: GatewayNames,
    objects: ObjectStore,
    credentials: Credentials,
    secrets: SecretStore,
    mark: Replication,
    settings: Settings,
    outside: Outside,
    counts: Counts | None = None,
    others: Others | None = None,
    proofs: Proofs | None = None,
) -> tuple[Gateway, AccessLogs]:
    """The gateway, and what writes its access logs. `counts`: to go on with.
    `others`: to read through, where they can be asked; `proofs`: the notary, where there is one."""
    clock, randomness, offload = outside
    logs = AccessLogs(
        names=names,
        objects=objects,
        clock=clock,
        randomness=randomness,
        every_ms=settings.access_log_ms,
        host_id=settings.name,
        notifications=settings.notifications,
    )
    gateway = Gateway(
        names=names,
        objects=objects,
        credentials=credentials,
        keyring=Keyring(names, secrets, randomness),
        clock=clock,
        randomness=randomness,
        config=_config(settings),
        offload=offload,
        replication=mark,
        others=others,
        proofs=proofs,
        logs=logs,
        counts=counts,
    )
    return gateway, logs


def _config(settings: Settings) -> Config:
    return Config(
        region=settings.region,
        region_aliases=REGION_ALIASES,
        base_domains=tuple(settings.base_domains),
        website_domains=tuple(settings.website_domains),
        signature_v2=settings.signature_v2,
        ssec_over_http=settings.ssec_over_http,
        notifications=settings.notifications,
        host_id=settings.name,
    )
