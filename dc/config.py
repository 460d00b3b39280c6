"""The configuration of a datacenter: one typed tree, read from `farshore.toml` in its folder.

The structs here and in `dc/config_tables.py` are the whole of it: their fields, defaults and
descriptions are what `render` writes as comments into a new file, and what the page
docs/configuration.md must name. A field that is unknown, missing or of another type is refused,
never ignored: `ConfigError` names the file, the line, the dotted path of the field, and what is
allowed there. TOML libraries keep no line numbers, so `_Lines` scans the text again for the line
on which a table or a key stands; it needs to be right only for files that have parsed already.

The file is read once, when the datacenter starts. Nothing in it is secret.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator
from datetime import tzinfo
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from dc.config_tables import S3 as S3
from dc.config_tables import Admin as Admin
from dc.config_tables import Events as Events
from dc.config_tables import Log as Log
from dc.config_tables import Metrics as Metrics
from dc.config_tables import Mqtt as Mqtt
from dc.config_tables import Notary as Notary
from dc.config_tables import Objects as Objects
from dc.config_tables import Peer as Peer
from dc.config_tables import Section
from dc.config_tables import TierTable as TierTable
from dc.durations import parse_duration
from dc.objects.api import STANDARD
from dc.objects.redundancy import Mode, parse_mode
from dc.objects.settings import CompactionSettings, ScrubSettings
from dc.objects.tiers import NAME_RULE as TIER_RULE
from dc.objects.tiers import TIERS_MAX, is_tier_name

FILE_BYTES_MAX = 64 * 1024
NAMED = "NAME"
"""In the path of a field of tables that have names."""
NAME_RULE = "1 to 32 lowercase letters, digits and hyphens, beginning with a letter or digit"
ENDPOINTS_MAX = 8
DISKS_MAX = 64
RATE_MAX = 100_000
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\]", re.ASCII)
_PORT = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)
_DURATIONS = {
    "conflict_retention": ("1m", "3650d"),
    "peer_absence_max": ("1h", "3650d"),
    "s3.lifecycle_day": ("1s", "1d"),
    "s3.access_log_every": ("1s", "1d"),
    "objects.compaction_every": ("1s", "7d"),
    "objects.compaction_grace": ("1s", "1d"),
    "objects.scrub_every": ("1m", "365d"),
}
"""The least and the most. A peer that is not waited for is compared, item by item, when it comes
back: not after every lunch."""
_TOPIC_PREFIX = re.compile(r"[A-Za-z0-9./_-]{0,128}", re.ASCII)
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)


class ConfigError(Exception):
    """The configuration cannot be used; the text says where, why and what is allowed."""


class Config(Section, frozen=True):
    """A datacenter."""

    name: Annotated[
        str,
        Meta(description=f"The name of this datacenter: {NAME_RULE}."),
    ]
    region: Annotated[
        str,
        Meta(description="The S3 region that clients sign for. Same rule as the name."),
    ]
    conflict_retention: Annotated[
        str,
        Meta(
            description="How long the losing write of a conflict is kept, counted from the write"
            " that it lost to: 30d, 12h, 90m. Give all datacenters the same: what one of them lets"
            " go is gone in all."
        ),
    ] = "30d"
    peer_absence_max: Annotated[
        str,
        Meta(
            description="How long another datacenter may be away without being waited for: 30d,"
            " 12h. Deletions are remembered until all who were heard of since have taken them."
        ),
    ] = "30d"
    s3: Annotated[S3, Meta(description="S3 clients.")] = S3()
    objects: Annotated[Objects, Meta(description="The bytes of objects.")] = Objects()
    peer: Annotated[Peer, Meta(description="Other datacenters.")] = Peer()
    admin: Annotated[Admin, Meta(description="Administration.")] = Admin()
    metrics: Annotated[Metrics, Meta(description="Monitoring.")] = Metrics()
    mqtt: Annotated[Mqtt, Meta(description="The broker.")] = Mqtt()
    events: Annotated[Events, Meta(description="Events.")] = Events()
    notary: Annotated[Notary, Meta(description="The notary.")] = Notary()
    log: Annotated[Log, Meta(description="Messages on standard error.")] = Log()

    @property
    def conflict_retention_ms(self) -> int:
        return parse_duration(self.conflict_retention)

    @property
    def zone(self) -> tzinfo | None:
        """Of `peer.time_zone`; None is that of the machine."""
        return ZoneInfo(self.peer.time_zone) if self.peer.time_zone else None

    @property
    def lifecycle_day_ms(self) -> int:
        return parse_duration(self.s3.lifecycle_day)

    @property
    def compaction(self) -> CompactionSettings:
        objects = self.objects
        return CompactionSettings(
            objects.compaction_threshold,
            objects.compaction_rate << 20,
            parse_duration(objects.compaction_grace) / 1000,
            parse_duration(objects.compaction_every) / 1000,
        )

    @property
    def scrub(self) -> ScrubSettings:
        objects = self.objects
        every = parse_duration(objects.scrub_every) / 1000
        return ScrubSettings(objects.scrub_rate << 20, objects.repair_rate << 20, every)

    @property
    def access_log_ms(self) -> int:
        return parse_duration(self.s3.access_log_every)

    @property
    def peer_absence_ms_max(self) -> int:
        return parse_duration(self.peer_absence_max)

    def advertised(self, bound_port: int) -> list[str]:
        """Where other DCs reach this one. Port 0 stands for the port that was bound."""
        host, _ = parse_listen(self.peer.listen)
        given = self.peer.advertise or (f"{bracketed(host)}:0",)
        return [f"{each[:-1]}{bound_port}" if each.endswith(":0") else each for each in given]


class FieldDoc(NamedTuple):
    """A field of the tree as documentation sees it."""

    path: str
    description: str
    default: Any
    """`msgspec.NODEFAULT` when it must be given."""


def is_name(text: str) -> bool:
    """Whether this may name a datacenter or a region (NAME_RULE)."""
    return _NAME.fullmatch(text) is not None


def bracketed(host: str) -> str:
    """A host as it stands before a colon and a port."""
    return f"[{host}]" if ":" in host else host


def parse_listen(text: str) -> tuple[str, int]:
    """Host (IPv6 without brackets) and port, 0 included; ValueError for anything else."""
    host, _, port = text.rpartition(":")
    if not _HOST.fullmatch(host) or not _PORT.fullmatch(port) or int(port) > 65_535:
        raise ValueError(f"{text[:80]!r} is not HOST:PORT, for instance 127.0.0.1:8000")
    return host.strip("[]"), int(port)


def is_any_address(host: str) -> bool:
    """Whether a listener on `host` is on all addresses, so that it names none to connect to."""
    return host in ("0.0.0.0", "::", "0", "")


def fields(section: type[msgspec.Struct] = Config, prefix: str = "") -> Iterator[FieldDoc]:
    """Every field, those of tables after their table's name, in the order of the file."""
    hints = get_type_hints(section, include_extras=True)
    for field in msgspec.structs.fields(section):
        meta = hints[field.name].__metadata__[0]
        inner = hints[field.name].__origin__
        path = f"{prefix}{field.name}"
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from fields(inner, f"{path}.")
        else:
            default = field.default
            if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
                default = field.default_factory()
            yield FieldDoc(path, meta.description, default)
            if (table := _named(inner)) is not None:
                yield from fields(table, f"{path}.{NAMED}.")


def _named(kind: Any) -> type[msgspec.Struct] | None:
    """What the tables are that names stand for, of a field that has such."""
    table = get_args(kind)[1] if get_origin(kind) is dict else None
    return table if isinstance(table, type) and issubclass(table, msgspec.Struct) else None


def render(config: Config) -> str:
    """The text of farshore.toml for `config`, every field there and explained."""
    tree = msgspec.to_builtins(config)
    lines = ["# Configuration of a Farshore datacenter. Read when it starts; `farshore serve`"]
    lines += ["# refuses fields that it does not know. All fields: docs/configuration.md."]
    section = ""
    for path, description, _ in fields():
        table, _, name = path.rpartition(".")
        if NAMED in table.split("."):
            continue
        if table != section:
            section = table
            lines += ["", f"[{table}]"]
        value = tree[table][name] if table else tree[name]
        lines += ["", *_comment(description)]
        if isinstance(value, dict):
            lines += _tables(path, value)
        else:
            lines.append(f"{name} = {msgspec.json.encode(value).decode()}")
    return "\n".join(lines) + "\n"


def _tables(path: str, tables: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Tables with names, the last thing in the table that they are in."""
    for name, table in tables.items():
        yield f"[{path}.{name}]"
        for field, value in table.items():
            yield f"{field} = {msgspec.json.encode(value).decode()}"


def _comment(text: str) -> Iterator[str]:
    line = "#"
    for word in text.split():
        if len(line) + 1 + len(word) > 100:
            yield line
            line = "#"
        line += f" {word}"
    yield line


def load(path: Path) -> Config:
    """The configuration in a file; ConfigError says what is wrong, OSError that it is not there."""
    data = path.read_bytes()
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"{path}: more than {FILE_BYTES_MAX} bytes, this is some other file")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8 text") from None
    return parse(text, str(path))


def parse(text: str, source: str) -> Config:
    """The configuration in a text; `source` names it in errors."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
        line = at[1] if at and at[1] else str(text.count("\n") + 1)
        reason = str(error)[: at.start()] if at else str(error)
        raise ConfigError(f"{source}, line {line}: not TOML: {reason}") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply, this is some other file") from None
    lines = _Lines(text, source)
    _check_shape(tree, Config, "", lines)
    try:
        config = msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).rpartition(" - at `$.")
        raise lines.error(where.rstrip("`"), reason) from None
    _check_values(config, lines)
    return config


def check(config: Config) -> None:
    """Refuse values that a file with them would be refused for; the error names the field only."""
    _check_values(config, _Lines("", ""))


class _Lines:
    """Where things stand in a TOML text."""

    _TABLE = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]")
    _KEY = re.compile(r"""\s*((?:[A-Za-z0-9_."' -])+?)\s*=""")

    def __init__(self, text: str, source: str) -> None:
        self._source = source
        self._at: dict[str, int] = {}
        table = ""
        for number, line in enumerate(text.splitlines(), 1):
            if found := self._TABLE.match(line):
                table = _plain(found[1])
                self._at.setdefault(table, number)
                table += "."
            elif found := self._KEY.match(line):
                self._at.setdefault(table + _plain(found[1]), number)

    def error(self, path: str, reason: str) -> ConfigError:
        """An error about the field at a dotted path, with the line of it or of its table."""
        near = path.partition("[")[0]
        while near and near not in self._at:
            inner = next((at for at in self._at if at.startswith(f"{near}.")), None)
            near = inner or near.rpartition(".")[0]
        line = f", line {self._at[near]}" if near else ""
        source = f"{self._source}{line}: " if self._source else ""
        return ConfigError(f"{source}{path}: {reason}")


def _plain(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


def _check_shape(tree: dict[str, Any], section: type, prefix: str, lines: _Lines) -> None:
    """Unknown and missing fields, and tables that are none, with what is allowed instead."""
    known = {field.name: field for field in msgspec.structs.fields(section)}
    for name, value in tree.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            allowed = f"{hint}allowed here: {', '.join(known)}"
            raise lines.error(f"{prefix}{name[:80]}", f"unknown field; {allowed}")
        inner = get_type_hints(section)[name]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            if not isinstance(value, dict):
                raise lines.error(f"{prefix}{name}", f"must be a table, written [{prefix}{name}]")
            _check_shape(value, inner, f"{prefix}{name}.", lines)
        elif (table := _named(inner)) is not None and isinstance(value, dict):
            for key, each in value.items():
                path = f"{prefix}{name}.{key[:80]}"
                if not isinstance(each, dict):
                    raise lines.error(path, f"must be a table, written [{path}]")
                _check_shape(each, table, f"{path}.", lines)
    for name, field in known.items():
        if field.required and name not in tree:
            raise lines.error(f"{prefix}{name}", "missing, this field must be given")


def _check_values(config: Config, lines: _Lines) -> None:
    """What a type does not say."""
    for path, name in (("name", config.name), ("region", config.region)):
        if not is_name(name):
            raise lines.error(path, f"{name[:80]!r} is not a valid name: {NAME_RULE}")
    listens = {
        "s3.listen": config.s3.listen,
        "peer.listen": config.peer.listen,
        "admin.listen": config.admin.listen,
    }
    if config.metrics.listen:
        listens["metrics.listen"] = config.metrics.listen
    if config.notary.listen:
        listens["notary.listen"] = config.notary.listen
    seen: dict[tuple[str, int], str] = {}
    for path, listen in listens.items():
        try:
            address = parse_listen(listen)
        except ValueError as error:
            raise lines.error(path, str(error)) from None
        if address[1] and address in seen:
            raise lines.error(path, f"{listen} is the same address as {seen[address]}")
        seen[address] = path
    _check_durations(config, lines)
    _check_advertise(config, lines)
    _check_mqtt(config.mqtt, lines)
    _check_zone(config.peer.time_zone, lines)
    _check_prefix("mqtt.topic_prefix", config.mqtt.topic_prefix, lines)
    _check_prefix("events.topic_prefix", config.events.topic_prefix, lines)
    _check_objects(config.objects, lines)
    for name in ("base_domains", "website_domains"):
        for number, domain in enumerate(getattr(config.s3, name)):
            if not _DOMAIN.fullmatch(domain):
                raise lines.error(
                    f"s3.{name}[{number}]", f"{domain[:80]!r} is not a lowercase domain name"
                )
    if both := set(config.s3.base_domains) & set(config.s3.website_domains):
        raise lines.error("s3.website_domains", f"{both.pop()} is in s3.base_domains, too")


def _check_durations(config: Config, lines: _Lines) -> None:
    for path, (least, most) in _DURATIONS.items():
        try:
            milliseconds = parse_duration(attrgetter(path)(config))
        except ValueError as error:
            raise lines.error(path, str(error)) from None
        if not parse_duration(least) <= milliseconds <= parse_duration(most):
            raise lines.error(path, f"must be from {least} to {most}")


def _check_objects(objects: Objects, lines: _Lines) -> None:
    try:
        mode = parse_mode(objects.redundancy)
    except ValueError as error:
        raise lines.error("objects.redundancy", str(error)) from None
    if not 0.05 <= objects.compaction_threshold <= 1:
        raise lines.error("objects.compaction_threshold", "must be from 0.05 to 1")
    for name, least in (("compaction_rate", 0), ("scrub_rate", 0), ("repair_rate", 1)):
        if not least <= getattr(objects, name) <= RATE_MAX:
            raise lines.error(f"objects.{name}", f"must be from {least} to {RATE_MAX}")
    disks = objects.disks
    _check_disks("objects.disks", disks, lines)
    if disks and not mode.m:
        raise lines.error("objects.redundancy", "disks are given: say for instance 2+1 or 4+2")
    if mode.m and 0 < len(disks) < mode.slots:
        raise lines.error(
            "objects.disks", f"{mode} takes at least {mode.slots} disks, there are {len(disks)}"
        )
    _check_tiers(objects, mode, lines)


def _check_disks(path: str, disks: tuple[str, ...], lines: _Lines) -> None:
    if len(disks) > DISKS_MAX:
        raise lines.error(path, f"at most {DISKS_MAX} disks")
    for number, each in enumerate(disks):
        if not each or not each.isprintable() or each in disks[:number]:
            reason = "is listed twice" if each in disks[:number] else "is no folder"
            raise lines.error(f"{path}[{number}]", f"{each[:80]!r} {reason}")


def _check_tiers(objects: Objects, standard: Mode, lines: _Lines) -> None:
    if len(objects.tiers) > TIERS_MAX:
        raise lines.error("objects.tiers", f"at most {TIERS_MAX} tiers")
    if objects.tiers and not standard.m:
        reason = "tiers take several disks: say objects.redundancy, for instance 2+1"
        raise lines.error("objects.tiers", reason)
    for name, tier in objects.tiers.items():
        path, mode = f"objects.tiers.{name}", standard
        if not is_tier_name(name):
            raise lines.error(path[:80], f"{name[:80]!r} is not a valid name: {TIER_RULE}")
        if name == STANDARD and tier.redundancy:
            reason = "that of `standard` is objects.redundancy: say it there"
            raise lines.error(f"{path}.redundancy", reason)
        if name != STANDARD:
            try:
                mode = parse_mode(tier.redundancy)
            except ValueError as error:
                raise lines.error(f"{path}.redundancy", str(error)) from None
        _check_disks(f"{path}.disks", tier.disks, lines)
        if not tier.disks and 0 < len(objects.disks) < mode.slots:
            reason = f"{mode} takes at least {mode.slots} disks, there are {len(objects.disks)}"
            raise lines.error(f"{path}.redundancy", reason)


def _check_mqtt(mqtt: Mqtt, lines: _Lines) -> None:
    if mqtt.host and not _HOST.fullmatch(mqtt.host):
        raise lines.error("mqtt.host", f"{mqtt.host[:80]!r} is no name and no address of a host")
    if not 1 <= mqtt.port <= 65_535:
        raise lines.error("mqtt.port", f"{mqtt.port} is no port: 1 to 65535")
    if mqtt.password_file and not mqtt.user:
        raise lines.error("mqtt.password_file", "a password needs a user: give mqtt.user")


def _check_zone(name: str, lines: _Lines) -> None:
    try:
        if name:
            ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        reason = f"{name[:80]!r} is no time zone that this machine knows, as Europe/Paris"
        raise lines.error("peer.time_zone", reason) from None


def _check_prefix(path: str, prefix: str, lines: _Lines) -> None:
    if not _TOPIC_PREFIX.fullmatch(prefix):
        raise lines.error(
            path,
            f"{prefix[:80]!r} cannot begin a topic: up to 128 letters, digits and ./_-, for"
            " instance farshore/",
        )


def _check_advertise(config: Config, lines: _Lines) -> None:
    host, _ = parse_listen(config.peer.listen)
    advertise = config.peer.advertise
    if not advertise and is_any_address(host):
        raise lines.error(
            "peer.advertise",
            f"must be given when peer.listen is {config.peer.listen}: the HOST:PORT at which other"
            " datacenters reach this one",
        )
    if len(advertise) > ENDPOINTS_MAX:
        raise lines.error("peer.advertise", f"at most {ENDPOINTS_MAX} addresses")
    for number, each in enumerate(advertise):
        path = f"peer.advertise[{number}]"
        try:
            reached, _ = parse_listen(each)
        except ValueError as error:
            raise lines.error(path, str(error)) from None
        if is_any_address(reached):
            raise lines.error(path, f"{each} is no address that others can connect to")
        if each in advertise[:number]:
            raise lines.error(path, f"{each} is listed twice")
