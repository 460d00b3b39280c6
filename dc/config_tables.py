"""The tables of a datacenter's configuration: their fields, defaults and descriptions
(`dc/config.py`)."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dc.events.kinds import KINDS, EventKind


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all tables of the file have in common."""


class S3(Section, frozen=True):
    """Where S3 clients come in."""

    listen: Annotated[
        str,
        Meta(
            description="HOST:PORT to listen on for S3 clients. Port 0 takes a free port at start."
        ),
    ] = "127.0.0.1:8000"
    base_domains: Annotated[
        tuple[str, ...],
        Meta(
            description="Domains under which a bucket may stand as the first label of the host"
            " name (virtual-host addressing), for instance s3.example.com."
        ),
    ] = ("s3.localhost", "localhost")
    website_domains: Annotated[
        tuple[str, ...],
        Meta(
            description="Domains under which the first label of the host name is a bucket that is"
            " served as a website, for instance s3-website.example.com."
        ),
    ] = ("s3-website.localhost",)
    signature_v2: Annotated[
        bool,
        Meta(
            description="Whether requests signed with AWS Signature Version 2 are accepted. It is"
            " weaker than Version 4, which every client of the last ten years speaks: SHA-1, and a"
            " signature does not cover the body."
        ),
    ] = False
    ssec_over_http: Annotated[
        bool,
        Meta(
            description="Whether keys that clients encrypt with (SSE-C) are taken, though they come"
            " over plain HTTP. For where TLS ends in front of this listener, and for tests."
        ),
    ] = False
    access_log_every: Annotated[
        str,
        Meta(
            description="How often the access logs of buckets are written to their target buckets:"
            " 5m, 1h. What is not written yet is lost in a crash."
        ),
    ] = "5m"
    lifecycle_day: Annotated[
        str,
        Meta(
            description="How long a day of lifecycle rules is. Anything but 1d is for tests only:"
            " 10s lets an object of one day go after ten seconds."
        ),
    ] = "1d"


class TierTable(Section, frozen=True):
    """How the bytes of some buckets are kept."""

    redundancy: Annotated[
        str,
        Meta(
            description="Data and parity fragments of the tier NAME, as 8+3; 1+0 is each container"
            " on one disk. That of `standard` is objects.redundancy."
        ),
    ] = ""
    disks: Annotated[
        tuple[str, ...],
        Meta(
            description="Which disks the tier is on: folders of objects.disks, NODE:FOLDER, nodes"
            " or hosts; * and ? stand for what you like. Empty: all disks."
        ),
    ] = ()


class Objects(Section, frozen=True):
    """Where the bytes of objects are kept."""

    disks: Annotated[
        tuple[str, ...],
        Meta(
            description="Folders, each on a disk of its own, that the bytes of objects are spread"
            " over: paths from the root, or in the datacenter's folder. Empty: they are in that"
            " folder. `farshore init` prepares them."
        ),
    ] = ()
    redundancy: Annotated[
        str,
        Meta(
            description="Data and parity fragments, as 4+2: any 2 of the disks may be lost, and"
            " bytes take 1.5 times their size. 1+2 is three copies. 1+0 without disks."
        ),
    ] = "1+0"
    compaction_threshold: Annotated[
        float,
        Meta(
            description="Which part of a container must be garbage (deleted, overwritten, or never"
            " finished) for what is left in it to be moved, so that its space comes back: 0.05 to"
            " 1. Less gives back more space, and moves more."
        ),
    ] = 0.3
    compaction_rate: Annotated[
        int,
        Meta(
            description="Megabytes (MiB) that are read and written a second for that, at most. 0:"
            " nothing is moved or removed by itself."
        ),
    ] = 64
    compaction_every: Annotated[
        str,
        Meta(description="How often it is looked for garbage: 1h, 10m."),
    ] = "1h"
    compaction_grace: Annotated[
        str,
        Meta(
            description="How long a container is left alone that somebody has just written to, and"
            " how long one is kept that is not needed any more, for reads and writes that are about"
            " to begin or to end: 1m, 10s."
        ),
    ] = "1m"
    scrub_rate: Annotated[
        int,
        Meta(
            description="With several disks: megabytes (MiB) of all disks together that are read a"
            " second, at most, to find what has rotted. 0: nothing is."
        ),
    ] = 64
    scrub_every: Annotated[
        str,
        Meta(
            description="How often a round of that through all containers begins, at most: 1d, 7d."
        ),
    ] = "1d"
    repair_rate: Annotated[
        int,
        Meta(
            description="Megabytes (MiB) that are read and written a second, at most, to write anew"
            " what is lost or has rotted, and to move it off disks."
        ),
    ] = 64
    tiers: Annotated[
        dict[str, TierTable],
        Meta(
            description="Tiers that buckets may be in besides the one that is called standard, by"
            " `farshore bucket tier`: a table [objects.tiers.NAME] for each, with redundancy, for"
            " instance 8+3, and disks."
        ),
    ] = msgspec.field(default_factory=dict)


class Mqtt(Section, frozen=True):
    """The broker: for notifications of buckets, events, and doorbells between datacenters."""

    host: Annotated[
        str,
        Meta(description="The broker's name or address. Empty: there is none, nothing is told."),
    ] = ""
    port: Annotated[int, Meta(description="The broker's port, 1 to 65535.")] = 1883
    user: Annotated[str, Meta(description="The user to log in as. Empty: without a login.")] = ""
    password_file: Annotated[
        str,
        Meta(
            description="A file with the user's password, mode 0600; a path in the datacenter's"
            " folder, or from the root."
        ),
    ] = ""
    tls: Annotated[
        bool,
        Meta(description="Whether to speak TLS with the broker, whose certificate is verified."),
    ] = False
    ca_file: Annotated[
        str,
        Meta(
            description="A file with the certificates that the broker's is verified by. Empty:"
            " those of the system."
        ),
    ] = ""
    topic_prefix: Annotated[
        str,
        Meta(
            description="What all topics of notifications begin with. Buckets' configurations name"
            " the rest."
        ),
    ] = "farshore/"


class Events(Section, frozen=True):
    """Every committed change, told to the broker of [mqtt]; `farshore events enable` begins it."""

    topic_prefix: Annotated[
        str,
        Meta(
            description="What all topics of events begin with. Who may configure a bucket may"
            " publish to any topic under mqtt.topic_prefix: keep it apart from that."
        ),
    ] = "farshore-events/"
    kinds: Annotated[
        tuple[EventKind, ...],
        Meta(description=f"Which kinds of items are told of: {', '.join(KINDS)}."),
    ] = KINDS


class Peer(Section, frozen=True):
    """Where other datacenters come in (TLS, pinned by the pairing token)."""

    listen: Annotated[
        str,
        Meta(
            description="HOST:PORT to listen on for other datacenters. Port 0 takes a free port at"
            " the first start and keeps to it as long as it stays free."
        ),
    ] = "127.0.0.1:7000"
    advertise: Annotated[
        tuple[str, ...],
        Meta(
            description="HOST:PORT, one or more, at which other datacenters reach this one, in the"
            " order to try. Empty: the listen address."
        ),
    ] = ()
    time_zone: Annotated[
        str,
        Meta(
            description="The time zone of the windows that limits have (`farshore dc limit"
            " --between`), as Europe/Paris or UTC. Empty: that of this machine."
        ),
    ] = ""


class Admin(Section, frozen=True):
    """Where the command line comes in (HTTP with the token in admin.token)."""

    listen: Annotated[
        str,
        Meta(
            description="HOST:PORT to listen on for administration. It is plain HTTP: keep it on"
            " this machine. Port 0 takes a free port at start."
        ),
    ] = "127.0.0.1:9000"


class Metrics(Section, frozen=True):
    """Where Prometheus comes in (HTTP, for reading only)."""

    listen: Annotated[
        str,
        Meta(
            description="HOST:PORT to listen on for Prometheus, which asks for /metrics there."
            " Empty: nobody listens."
        ),
    ] = ""
    token_file: Annotated[
        str,
        Meta(
            description="A file with a token, mode 0600, that must be shown (as Authorization:"
            " Bearer); a path in the datacenter's folder, or from the root. Empty: whoever can"
            " connect may read."
        ),
    ] = ""


class Notary(Section, frozen=True):
    """Proofs of what is stored."""

    listen: Annotated[
        str,
        Meta(
            description="HOST:PORT to serve the notary's logs on, to whoever can connect (plain"
            " HTTP, for reading only; entries tell the names of objects). Empty: nobody listens."
        ),
    ] = ""
    hooks: Annotated[
        dict[str, dict[str, Any]],
        Meta(
            description="A table [notary.hooks.NAME] for each plug-in that is to be told of"
            " entries and checkpoints; docs/notary-hooks.md has what can stand in it."
        ),
    ] = {}


class Log(Section, frozen=True):
    """What is written to standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The least important messages to write: debug, info, warning or error."),
    ] = "info"
    format: Annotated[
        Literal["auto", "console", "json"],
        Meta(
            description="console for people, json (a line per message) for programs, auto for"
            " console on a terminal and json elsewhere."
        ),
    ] = "auto"
