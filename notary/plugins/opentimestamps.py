"""OpenTimestamps of checkpoints: promises of calendars first, Bitcoin blocks some hours later
(docs/notary-hooks.md).

All calendars are asked at once, and one answer is enough: which of them failed is in the log. A
calendar's promise is of use only if it can be redeemed, so one that refers to a calendar that is
not configured is refused. The library is loaded when the plug-in is set up, or is to explain a
timestamp.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import structlog

from dc.worker import TaskGroup
from notary.errors import HookFailed
from notary.hooks import Hook, Settings
from notary.note import Checkpoint
from notary.plugins import options
from notary.plugins.web import SHARE, Answer, Web

log = structlog.get_logger("notary.opentimestamps")

NAME = "opentimestamps"
CONTENT_TYPE = "application/vnd.opentimestamps.v1"
CALENDARS_MAX = 8
UPGRADE_SECONDS = 600.0
_NAMED_MAX = 3


class Options(options.Table, frozen=True):
    """`[notary.hooks.opentimestamps]`."""

    calendars: tuple[str, ...] = ()
    """URLs."""
    every: str = "1h"


class OpenTimestamps(Hook):
    """The hook."""

    name = NAME
    upgrade_seconds = UPGRADE_SECONDS

    def __init__(self, calendars: Sequence[str], every: float, web: Web) -> None:
        """`every`: seconds. `calendars`: URLs without a slash at the end."""
        self.checkpoint_seconds = every
        self._calendars = list(calendars)
        self._web = web

    async def checkpoint(self, checkpoint: Checkpoint) -> bytes | None:
        """An .ots file of the root. HookFailed when no calendar gives a promise."""
        from notary.plugins import ots

        root = checkpoint.root
        stamps = await self._each([partial(self._submit, each, root) for each in self._calendars])
        return ots.write(ots.together(root, stamps))

    def is_final(self, timestamp: bytes) -> bool:
        """Whether it has a Bitcoin block. ValueError."""
        from notary.plugins import ots

        return bool(ots.blocks(ots.read(timestamp, None)))

    async def upgrade(self, checkpoint: Checkpoint, timestamp: bytes) -> bytes | None:
        """What the calendars that are configured have by now. HookFailed when all whom it asks
        fail; ValueError for a timestamp that is of something else."""
        from notary.plugins import ots

        stamp = ots.read(timestamp, checkpoint.root)
        asked = [one for one in ots.pending(stamp) if one.uri.rstrip("/") in self._calendars]
        if not asked:
            return None
        asks = [partial(self._redeem, one.uri.rstrip("/"), one.commitment) for one in asked]
        found = await self._each(asks)
        for one in found:
            if one is not None:
                ots.add(stamp, one.msg, one)
        better = ots.write(stamp)
        return better if better != timestamp else None

    def explain(self, body: str, root: bytes, timestamp: bytes) -> str:
        from notary.plugins import ots

        stamp = ots.read(timestamp, root)
        blocks, pending = ots.blocks(stamp), ots.pending(stamp)
        if blocks:
            first = blocks[0]
            return (
                f"in Bitcoin block {first.height}, if the Merkle root in that block's header is"
                f" {first.merkle_root}: compare them with a node or an explorer that you trust (not"
                " done here, it needs one); the block's time is that of the timestamp"
            )
        if pending:
            names = ", ".join(sorted({one.uri for one in pending})[:_NAMED_MAX])
            return f"pending: promised by {names}, in no Bitcoin block yet; this shows no time"
        return "no attestation of a kind that is known; this shows no time"

    async def close(self) -> None:
        await self._web.close()

    async def _submit(self, calendar: str, root: bytes) -> Any:
        from notary.plugins import ots

        url = f"{calendar}/digest"
        answer = await self._ask("POST", url, root)
        if answer.status != 200:
            reason = f"answered with status {answer.status}, and no timestamp"
            raise self._web.failed(url, reason, answer.retry_seconds)
        stamp = self._read(url, answer, root)
        promised = {one.uri.rstrip("/") for one in ots.pending(stamp)}
        if not ots.blocks(stamp) and not promised & set(self._calendars):
            others = ", ".join(sorted(promised)[:_NAMED_MAX]) or "nobody"
            reason = (
                f"gave a promise of {others}, which is none of the calendars that are configured:"
                f" add it to notary.hooks.{NAME}.calendars if it is to be asked for the block"
            )
            raise self._web.failed(url, reason)
        return stamp

    async def _redeem(self, calendar: str, commitment: bytes) -> Any:
        """None when the calendar has no more yet."""
        url = f"{calendar}/timestamp/{commitment.hex()}"
        answer = await self._ask("GET", url)
        if answer.status == 404:
            return None
        if answer.status != 200:
            reason = f"answered with status {answer.status}"
            raise self._web.failed(url, reason, answer.retry_seconds)
        return self._read(url, answer, commitment)

    async def _ask(self, method: str, url: str, data: bytes | None = None) -> Answer:
        from notary.plugins import ots

        return await self._web.ask(
            method,
            url,
            {"Accept": CONTENT_TYPE},
            data,
            seconds=self.seconds * SHARE,
            bytes_max=ots.ANSWER_BYTES_MAX,
        )

    def _read(self, url: str, answer: Answer, commitment: bytes) -> Any:
        from notary.plugins import ots

        reason = ""
        try:
            return ots.answered(answer.body, commitment)
        except ValueError as error:
            reason = str(error)
        raise self._web.failed(url, f"gave an answer that is refused: {reason}")

    async def _each(self, asks: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
        """Do all at once: what came. HookFailed when all failed."""
        found: list[Any] = []
        failures: list[HookFailed] = []

        async def one(ask: Callable[[], Awaitable[Any]]) -> None:
            try:
                found.append(await ask())
            except HookFailed as failure:
                failures.append(failure)

        async with TaskGroup() as group:
            for ask in asks:
                group.create_task(one(ask))
        if not found:
            text = "; ".join(map(str, failures[:_NAMED_MAX]))
            raise HookFailed(text, min(one.retry_seconds for one in failures))
        for failure in failures:
            log.warning("a calendar failed, others did not", reason=str(failure))
        return found


def make(settings: Settings) -> OpenTimestamps | None:
    """The plug-in. NotaryRefused."""
    if settings.options is None and not settings.to_explain:
        return None
    given = options.read(NAME, settings.options, Options)
    every = options.seconds(NAME, "every", given.every)
    calendars = [options.url(NAME, "calendars", each).rstrip("/") for each in given.calendars]
    if not calendars and not settings.to_explain:
        reason = "give the URLs of one calendar at least, or better of several"
        raise options.refused(NAME, "calendars", reason)
    if len(calendars) > CALENDARS_MAX:
        raise options.refused(NAME, "calendars", f"at most {CALENDARS_MAX} calendars")
    if len(set(calendars)) != len(calendars):
        raise options.refused(NAME, "calendars", "one of them is listed twice")
    _load()
    return OpenTimestamps(calendars, every, Web("the calendar", settings.clock))


def _load() -> None:
    """Now, and not with the first checkpoint: it takes a tenth of a second."""
    from notary.plugins import ots

    assert ots
