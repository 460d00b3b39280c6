"""The notary of one simulated DC: the real one, on a simulated database, called by peers over the
simulated network. What survives its processes is here: the database, and what its hooks were told.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sim_database import open_memory
from sim_plan_notary import Proving

from dc.names.model import Version
from notary.entries import Entry
from notary.hook_threads import Inline
from notary.hooks import Hook
from notary.note import Checkpoint
from notary.service import Notary
from notary.store import open_store

if TYPE_CHECKING:
    from sim_dc import Dc

HANG_SECONDS = 5.0
STAMP_SECONDS = 8.0
ANSWER_SECONDS = 0.5


class HangingHook(Hook):
    """One whose other side accepts, and never answers."""

    name = "hanging"
    entries_max = 10
    checkpoint_seconds = 5.0
    seconds = HANG_SECONDS

    async def entries(self, first: int, entries: Sequence[Entry]) -> None:
        await asyncio.Event().wait()

    async def checkpoint(self, checkpoint: Checkpoint) -> bytes | None:
        await asyncio.Event().wait()
        return None


class StampingHook(Hook):
    """One that notes what it was told, and gives timestamps of checkpoints."""

    name = "stamping"
    entries_max = 4
    checkpoint_seconds = STAMP_SECONDS

    def __init__(self, told: list[tuple[int, list[Entry]]]) -> None:
        self.told = told

    async def entries(self, first: int, entries: Sequence[Entry]) -> None:
        await asyncio.sleep(ANSWER_SECONDS)
        self.told.append((first, list(entries)))

    async def checkpoint(self, checkpoint: Checkpoint) -> bytes | None:
        return hashlib.sha256(checkpoint.body.encode()).digest()


class ProvingDc:
    """What a DC has for its notary, whichever of its processes lives."""

    def __init__(self, path: Path, number: int, terms: Proving) -> None:
        self.path = path
        self.terms = terms
        self.hangs = number in terms.hanging
        self.stamps = number in terms.stamping
        self.tables = open_memory(path)
        """To look at what is stored."""
        self.told: list[tuple[int, list[Entry]]] = []
        """Entries that a hook was told of, with the index of the first."""
        self.rewound: list[tuple[float, float]] = []
        """When the database of names was put back, after the moment when it was copied: (copied,
        put back)."""

    @property
    def forgets(self) -> bool:
        """Its log was put back: it has forgotten entries that others have seen."""
        return self.terms.restored and bool(self.rewound)

    def was_lost(self, at: float) -> bool:
        """Whether what was acknowledged at a moment may have been forgotten since."""
        return any(copied <= at <= put_back for copied, put_back in self.rewound)

    async def open(self, dc: "Dc") -> Notary:
        """For a process; its works are not started yet."""
        hooks: list[Hook] = []
        if self.hangs:
            hooks.append(HangingHook())
        if self.stamps:
            hooks.append(StampingHook(self.told))
        notary = Notary(
            names=dc.names,
            store=await open_store(self.path, dc.databases),
            identity=dc.identity,
            name=dc.name,
            channel=dc.replicator,
            clock=dc.clock,
            hooks=hooks,
            calls=lambda _: Inline(),
        )

        async def digest(version: Version) -> tuple[str, bool]:
            return hashlib.sha256(await dc.body(version)).hexdigest(), True

        notary.log.digest = digest
        await notary.open()
        return notary
