"""The parts of a datacenter, put together: the one place that knows which class is which.

`open_parts` reads DIR and opens everything that listens to nobody yet; `admin/node.py` starts and
stops it.
"""

import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from admin.broker import read_broker
from admin.disks import check_folders, check_one_disk, check_tiers, note_disks, tiers_of
from admin.errors import AdminError, os_reason
from admin.fleet import Fleet
from admin.gateways import Gateways
from admin.layout import ADMIN_TOKEN_BYTES, DATA_KEY_BYTES, Layout
from admin.metrics.token import read_token
from admin.proving import hook_settings, open_notary
from admin.s3 import Outside, make_gateway
from dc import config as configuration
from dc.accounts import Accounts
from dc.clock_watch import ClockWatch
from dc.config import Config, ConfigError
from dc.events.publisher import Publisher
from dc.events.records import Records
from dc.mqtt import MqttBroker
from dc.names.service import SqliteNames, open_names
from dc.objects.coded_disks import CodedDisks
from dc.objects.compaction import Compactor
from dc.objects.container import ContainerDisk
from dc.objects.format import container_of
from dc.objects.journal import Journal
from dc.objects.one_disk import OneDisk
from dc.objects.redundancy import parse_mode
from dc.objects.rounds import RoundFile
from dc.objects.store import ContainerStore
from dc.ports import Clock, Disk, Network, Randomness
from dc.remote.wire import Settings
from dc.system import SideBySide, SystemDatabases, connect
from dc.worker import Worker
from gateway.access_logs.delivery import AccessLogs
from gateway.background import Background
from gateway.connection import Server
from notary.hooks import Settings as HookSettings
from notary.service import Notary
from replicator.channel import server_context
from replicator.service import Replicator
from tokens.errors import CertificateError, TokensError
from tokens.fingerprint import fingerprint
from tokens.identity import Identity
from tokens.place import Place
from tokens.private_file import check_private_mode
from tokens.secret_store import SecretStore

Step = Callable[[], Awaitable[float]]
DOORBELL_KEEPALIVE_SECONDS = 120
"""A broker that is gone without a word is noticed after one and a half of these at the latest."""
BACKOFF_SECONDS_MAX = 10.0
"""What works in the background, and fails, is tried again within this time."""


@dataclass(frozen=True, slots=True)
class Files:
    """What DIR says, read and checked."""

    layout: Layout
    config: Config
    identity: Identity
    fingerprint: str
    """Of the certificate that `tls` shows to peers."""
    tls: ssl.SSLContext
    data_key: bytes
    admin_token: str
    broker: MqttBroker | None
    metrics_token: str
    """"": whoever can connect may read the metrics."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A datacenter that is open, and not yet started."""

    files: Files
    names: SqliteNames
    objects: ContainerStore
    journal: Journal
    compactor: Compactor
    accounts: Accounts
    s3: Server
    background: Background
    events: Publisher
    replicator: Replicator
    fleet: Fleet
    gateways: Gateways
    notary: Notary
    hooks: HookSettings
    """What plug-ins of the notary are made with."""
    watch: ClockWatch


def read_files(layout: Layout) -> Files:
    """AdminError says which file is wrong, and how."""
    try:
        config = configuration.load(layout.config)
        for path in layout.secrets:
            check_private_mode(path)
        identity = Identity.load(layout.identity.read_bytes())
        tls = server_context(layout.certificate, layout.certificate_key)
        data_key = layout.data_key.read_bytes()
        admin_token = layout.admin_token.read_text().strip()
        broker = read_broker(layout, config.mqtt, f"farshore-{identity.dc_id}")
        wanted = config.metrics.token_file
        metrics_token = read_token(layout.root / wanted) if wanted else ""
    except (ConfigError, TokensError) as error:
        raise AdminError(str(error)) from None
    except ssl.SSLError:
        raise _damaged(layout.certificate_key) from None
    except FileNotFoundError as error:
        raise AdminError(f"{error.filename} is missing: restore it from a backup") from None
    except OSError as error:
        raise AdminError(os_reason(error)) from None
    try:
        mark = fingerprint(layout.certificate.read_bytes())
    except CertificateError:
        raise _damaged(layout.certificate) from None
    if len(admin_token) != 2 * ADMIN_TOKEN_BYTES:
        raise _damaged(layout.admin_token)
    if len(data_key) != DATA_KEY_BYTES:
        raise _damaged(layout.data_key)
    return Files(layout, config, identity, mark, tls, data_key, admin_token, broker, metrics_token)


def _damaged(path: Path) -> AdminError:
    return AdminError(f"{path} is damaged: restore it from a backup")


def object_disk(files: Files, disk: Disk, clock: Clock, fleet: Fleet) -> ContainerDisk:
    """Where containers are kept: in DIR, or on several disks, of several machines."""
    layout, mode = files.layout, parse_mode(files.config.objects.redundancy)
    if not mode.m:
        check_one_disk(layout)
        return disk
    check_folders(layout, files.config)
    tiers, places = tiers_of(layout, files.config), fleet.places()
    check_tiers(tiers, places, bool(fleet.state.nodes or fleet.state.removed))
    disks = CodedDisks(
        disk,
        places,
        files.identity.dc_id,
        mode,
        clock=clock,
        side=SideBySide(),
        tiers=tiers,
        before=OneDisk(disk, layout.containers),
    )
    fleet.opened(disks)
    return disks


def fleet_of(files: Files, clock: Clock, disk: Disk, randomness: Randomness) -> Fleet:
    """The disks and machines that DIR names."""
    return Fleet(
        files.layout,
        files.config,
        files.identity,
        clock=clock,
        disk=disk,
        randomness=randomness,
    )


def check_names(layout: Layout, containers: ContainerDisk) -> None:
    """AdminError when there are objects, and no names for them: an empty name server would take
    them for garbage."""
    if (layout.names / "names.db").exists():
        return
    containers.make_dirs(layout.containers)  # Which also finds what is on several disks.
    if any(container_of(name) is not None for name in containers.list_dir(layout.containers)):
        raise AdminError(
            f"{layout.names / 'names.db'} is lost, and there are objects: put it back from a backup"
            f" of all of {layout.root}, or `farshore names rebuild {layout.root}` makes it again"
        )


async def _say_site(names: SqliteNames, files: Files) -> None:
    """Tell all datacenters what this one is called, when they do not know it."""
    config = files.config
    site = names.directory.site(files.identity.dc_id)
    if site is None or (site.name, site.region) != (config.name, config.region):
        await names.put_site(config.name, config.region)


def _settings(files: Files) -> Settings:
    """What all gateways of the datacenter have in common."""
    config = files.config
    return Settings(
        name=config.name,
        region=config.region,
        base_domains=list(config.s3.base_domains),
        website_domains=list(config.s3.website_domains),
        signature_v2=config.s3.signature_v2,
        ssec_over_http=config.s3.ssec_over_http,
        notifications=files.broker is not None,
        access_log_ms=config.access_log_ms,
    )


def _events(files: Files, names: SqliteNames, clock: Clock) -> Publisher:
    config, dc_id = files.config, files.identity.dc_id
    broker = files.broker and files.broker.used_for("events")
    records = Records(names.directory, config.name, dc_id, config.events.topic_prefix)
    return Publisher(names, clock, broker, records, config.events.kinds)


def _doorbell(broker: MqttBroker | None) -> MqttBroker | None:
    """For idle links: it says that it is there as seldom as it may."""
    keepalive = DOORBELL_KEEPALIVE_SECONDS
    return broker and broker.used_for("doorbell", receives=True, keepalive_seconds=keepalive)


def _place(files: Files, port: int) -> Place:
    """What is told to other datacenters, when peers are listened for on this port."""
    config = files.config
    advertised = tuple(config.advertised(port))
    return Place(config.name, config.region, advertised, files.fingerprint)


def _background(
    files: Files,
    names: SqliteNames,
    objects: ContainerStore,
    steps: Mapping[str, Step],
    logs: AccessLogs,
    clock: Clock,
) -> Background:
    """`steps`: the work of what else there is, by its name."""
    others = [Worker(name, clock, step, BACKOFF_SECONDS_MAX) for name, step in steps.items()]
    config = files.config
    return Background(
        names=names,
        clock=clock,
        host_id=config.name,
        day_ms=config.lifecycle_day_ms,
        broker=files.broker,
        topic_prefix=config.mqtt.topic_prefix,
        logs=logs,
        others=[*objects.workers(), *others],
    )


async def _open_names(files: Files, clock: Clock, randomness: Randomness) -> SqliteNames:
    config = files.config
    names = await open_names(
        files.layout.names / "names.db",
        databases=SystemDatabases(),
        clock=clock,
        randomness=randomness,
        dc_id=files.identity.dc_id,
    )
    names.knowledge.conflict_retention_ms = config.conflict_retention_ms
    names.knowledge.peer_absence_ms_max = config.peer_absence_ms_max
    return names


def _join(fleet: Fleet, objects: ContainerStore, replicator: Replicator) -> None:
    """Tell the fleet what it needs of the others."""
    fleet.seal = objects.seal_all
    fleet.place = lambda: replicator.place
    replicator.open_door("node", fleet.accept)


def _replicator(
    files: Files,
    names: SqliteNames,
    objects: ContainerStore,
    secrets: SecretStore,
    outside: Outside,
    network: Network,
) -> Replicator:
    return Replicator(
        names=names,
        objects=objects,
        identity=files.identity,
        own=lambda port: _place(files, port),
        secrets=secrets,
        tls=files.tls,
        clock=outside.clock,
        randomness=outside.randomness,
        network=network,
        zone=files.config.zone,
        broker=_doorbell(files.broker),
    )


def _store(
    files: Files, containers: ContainerDisk, clock: Clock, disk: Disk, randomness: Randomness
) -> ContainerStore:
    layout = files.layout
    return ContainerStore(
        layout.root,
        disk=containers,
        clock=clock,
        randomness=randomness,
        scrub=files.config.scrub,
        round_file=RoundFile(disk, layout.scrub_round, files.identity.dc_id),
    )


async def open_parts(
    files: Files, *, clock: Clock, disk: Disk, randomness: Randomness, network: Network
) -> Parts:
    """Open the databases and containers."""
    layout, config = files.layout, files.config
    secrets = SecretStore(files.data_key, randomness.token)
    settings, outside = _settings(files), Outside(clock, randomness, disk)
    fleet = fleet_of(files, clock, disk, randomness)
    containers = object_disk(files, disk, clock, fleet)
    await disk.run(lambda: check_names(layout, containers))
    if isinstance(containers, CodedDisks):
        await disk.run(lambda: note_disks(layout, disk))
    names = await _open_names(files, clock, randomness)
    objects = _store(files, containers, clock, disk, randomness)
    journal = Journal(names, objects, clock)
    notary: Notary | None = None
    try:
        await objects.open()
        await journal.open()
        await _say_site(names, files)
        accounts = Accounts(names, secrets, randomness)
        replicator = _replicator(files, names, objects, secrets, outside, network)
        _join(fleet, objects, replicator)
        mark, reading = replicator.mark, replicator.others
        hooks = hook_settings(layout, config, files.identity, clock, randomness)
        notary = await open_notary(hooks, config, files.identity, names, disk, replicator)
        gateway, logs = make_gateway(
            names, objects, accounts, secrets, mark, settings, outside, None, reading, notary
        )
        notary.log.digest = gateway.sha256
    except BaseException:
        if notary is not None:
            await notary.stop()
        await names.close()
        raise
    fleet.gateways = gateways = Gateways(
        names,
        objects,
        replicator.mark,
        settings,
        files.data_key,
        clock,
        randomness,
        connect,
        fleet.gateways_at(),
        replicator.others,
        notary,
    )
    compactor = Compactor(names, objects, clock, config.compaction)
    events = _events(files, names, clock)
    watch = ClockWatch(clock, lambda: names.clock.last)
    steps = {"journal": journal.step, "compaction": compactor.step, "events": events.step}
    steps["clock"] = watch.step
    return Parts(
        files,
        names,
        objects,
        journal,
        compactor,
        accounts,
        gateway.server(),
        _background(files, names, objects, steps, logs, clock),
        events,
        replicator,
        fleet,
        gateways,
        notary,
        hooks,
        watch,
    )
