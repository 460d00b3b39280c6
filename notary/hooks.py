"""Hooks: who else is told of entries and checkpoints (docs/notary-hooks.md has the interface).

A plug-in is an entry point of the group `farshore.notary`: a callable that is given `Settings` and
gives a `Hook`, or None when it is not set up. The log is the queue of all hooks: each has a
position in it, of its own and durable, and is told again from there after a crash.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

from dc.ports import Clock, Randomness
from notary.entries import Entry
from notary.errors import NotaryError
from notary.note import Checkpoint

GROUP = "farshore.notary"


class Settings(NamedTuple):
    """What a plug-in is made with."""

    options: Mapping[str, Any] | None
    """The table `[notary.hooks.NAME]` of farshore.toml; None when there is none."""
    folder: Path
    """DIR/notary: a plug-in may keep files there whose names begin with its own."""
    dc: str
    """This datacenter's name and id."""
    dc_id: str
    clock: Clock
    randomness: Randomness
    to_explain: bool = False
    """Nothing will be asked of anybody: the hook is made for `explain` alone, by who verifies a
    certificate. Then options that others need may be missing."""


class Hook:
    """To be subclassed. Calls of one hook come one after the other. One that raises is repeated,
    with what it was told before, after a back-off; so what comes may have come before."""

    name = ""
    """The entry point's; the kind of the timestamps that it gives."""
    entries_max = 0
    """How many entries it is told of at once at most; 0: it is told of none."""
    checkpoint_seconds: float | None = None
    """How often it is given a checkpoint at most; None: never."""
    upgrade_seconds: float | None = None
    """How often it is asked for a better timestamp in place of each that is not final."""
    seconds = 30.0
    """How long a call may take."""

    async def entries(self, first: int, entries: Sequence[Entry]) -> None:
        """Entries of this DC's log, the first of them at that index, in the log's order."""

    async def checkpoint(self, checkpoint: Checkpoint) -> bytes | None:
        """A timestamp of a published checkpoint (of `checkpoint.root`, or of `checkpoint.body`), to
        be kept and put into certificates."""
        return None

    def is_final(self, timestamp: bytes) -> bool:
        """Whether no better one will be had."""
        return True

    async def upgrade(self, checkpoint: Checkpoint, timestamp: bytes) -> bytes | None:
        """A better timestamp; None when there is none yet."""
        return None

    def explain(self, body: str, root: bytes, timestamp: bytes) -> str:
        """What a timestamp in a certificate shows, in a line, looked into as far as that can be
        without a network: of a checkpoint's body and root. ValueError when it is not of these."""
        return f"{len(timestamp)} bytes"

    async def close(self) -> None:
        """The datacenter stops."""


Make = Callable[[Settings], Hook | None]


def installed() -> dict[str, Make]:
    """The plug-ins that are installed, by name; not loaded yet."""
    return {one.name: _loader(one) for one in entry_points(group=GROUP)}


def make_hooks(settings: Settings, tables: Mapping[str, Mapping[str, Any]]) -> list[Hook]:
    """The hooks that are set up, by the tables of the configuration. NotaryError names the plug-in
    that is not installed, or cannot be made."""
    known = installed()
    if missing := sorted(set(tables) - set(known)):
        raise NotaryError(
            f"[notary.hooks.{missing[0]}]: there is no such plug-in: installed are"
            f" {', '.join(sorted(known)) or 'none'}"
        )
    hooks = []
    for name, make in sorted(known.items()):
        hook = make(settings._replace(options=tables.get(name)))
        if hook is not None:
            hook.name = name
            hooks.append(hook)
    return hooks


def explained(
    kind: str,
    body: str,
    root: bytes,
    timestamp: bytes,
    clock: Clock,
    randomness: Randomness,
    tables: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """A line on a timestamp in a certificate, by its plug-in. ValueError when it is not of that
    checkpoint, or not what the plug-in's options, in `tables`, ask for; NotaryError for these."""
    make = installed().get(kind)
    if make is None:
        return f"the plug-in {kind[:40]!r} is not installed, it was not looked into"
    options = (tables or {}).get(kind, {})
    hook = make(Settings(options, Path(), "", "", clock, randomness, to_explain=True))
    if hook is None:
        return "its plug-in does not explain it"
    return hook.explain(body, root, timestamp)


def _loader(point: Any) -> Make:
    def make(settings: Settings) -> Hook | None:
        try:
            hook: Hook | None = point.load()(settings)
        except NotaryError:
            raise
        except Exception as error:
            raise NotaryError(
                f"the plug-in {point.name} ({point.value}) cannot be loaded:"
                f" {type(error).__name__}: {error}"
            ) from error
        return hook

    return make
