"""Timestamps of checkpoints by an authority, as RFC 3161 has them (docs/notary-hooks.md).

The library is loaded when the plug-in is set up, or is to explain a timestamp.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dc.ports import Randomness
from notary.errors import NotaryRefused
from notary.hooks import Hook, Settings
from notary.note import Checkpoint
from notary.plugins import options
from notary.plugins.web import SHARE, Web

if TYPE_CHECKING:
    from notary.plugins.tsp import Roots

NAME = "rfc3161"
QUERY, REPLY = "application/timestamp-query", "application/timestamp-reply"
_CERTIFICATES_BYTES_MAX = 1 << 20


class Options(options.Table, frozen=True):
    """`[notary.hooks.rfc3161]`."""

    url: str = ""
    """Of the authority."""
    every: str = "1h"
    certificates: str = ""
    """A PEM file with the roots that the authority's certificate is to be under; its path is
    relative to DIR."""


class Rfc3161(Hook):
    """The hook."""

    name = NAME

    def __init__(self, url: str, every: float, roots: "Roots", web: Web, chance: Randomness):
        """`every`: seconds."""
        self.checkpoint_seconds = every
        self._url = url
        self._roots = roots
        self._web = web
        self._chance = chance

    async def checkpoint(self, checkpoint: Checkpoint) -> bytes | None:
        """A TimeStampResp of the body's SHA-256. HookFailed."""
        from notary.plugins import tsp

        nonce = tsp.nonce_of(self._chance.token(tsp.NONCE_BYTES))
        answer = await self._web.ask(
            "POST",
            self._url,
            {"Content-Type": QUERY, "Accept": REPLY},
            tsp.request(checkpoint.body, nonce),
            seconds=self.seconds * SHARE,
            bytes_max=tsp.RESPONSE_BYTES_MAX,
        )
        if answer.status != 200:
            reason = f"answered with status {answer.status}, and no timestamp"
            raise self._web.failed(self._url, reason, answer.retry_seconds)
        reason = _reason(lambda: tsp.checked(answer.body, checkpoint.body, nonce, self._roots))
        if reason:
            raise self._web.failed(self._url, f"gave a timestamp that is refused: {reason}")
        return answer.body

    def explain(self, body: str, root: bytes, timestamp: bytes) -> str:
        from notary.plugins import tsp

        found = tsp.shown(timestamp, body, self._roots)
        if not self._roots:
            trust = (
                "verified only in itself, with the certificate in it: whose that is, only the"
                " authority's roots can tell"
            )
        elif found.untrusted:
            raise ValueError(
                f"it is by {found.who}, not under the roots that are trusted ({found.untrusted})"
            )
        else:
            trust = "verified against the roots that are trusted"
        when = found.when.strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"stamped at {when} by {found.who} (serial number {found.serial}); {trust}"

    async def close(self) -> None:
        await self._web.close()


def make(settings: Settings) -> Rfc3161 | None:
    """The plug-in. NotaryRefused."""
    if settings.options is None and not settings.to_explain:
        return None
    given = options.read(NAME, settings.options, Options)
    every = options.seconds(NAME, "every", given.every)
    url = ""
    if given.url or not settings.to_explain:
        url = options.url(NAME, "url", given.url)
    roots = _roots(settings.folder.parent / given.certificates) if given.certificates else []
    web = Web("the timestamping authority", settings.clock)
    return Rfc3161(url, every, roots, web, settings.randomness)


def _roots(path: Path) -> "Roots":
    from notary.plugins import tsp

    try:
        with path.open("rb") as file:
            return tsp.read_roots(file.read(_CERTIFICATES_BYTES_MAX))
    except (OSError, ValueError) as error:
        raise _refused(path, error) from None


def _refused(path: Path, error: Exception) -> NotaryRefused:
    return options.refused(NAME, "certificates", f"{path} cannot be used: {error}")


def _reason(check: Callable[[], object]) -> str:
    """Why a check fails; empty when it does not."""
    try:
        check()
    except ValueError as error:
        return str(error)
    return ""
