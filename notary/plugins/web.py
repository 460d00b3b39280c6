"""Asking others by HTTP: bounded in time and size, without redirects, cookies and proxies.

Whom a plug-in asks is trusted with nothing: an answer may be late, endless or anything else, and
comes out as an `Answer` that is small, or as `HookFailed`. Who says `Retry-After` is left alone for
so long: until then nothing is sent.

What is sent may hold a key. So an error has neither headers nor anything of the answer in it, and
no other error behind it, which would.
"""

import asyncio
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import aiohttp
from yarl import URL

from dc.ports import Clock
from notary.errors import HookFailed

ANSWER_BYTES_MAX = 64 << 10
SHARE = 0.9
"""Of a hook's time, for what it asks: so it is the hook that says who has not answered, and not its
end by whoever called it."""
RETRY_SECONDS_MAX = 3600.0
"""Nobody is left alone for longer, whatever they say."""
_BUSY = (413, 429, 503)
_REDIRECTS = range(300, 400)


class Answer(NamedTuple):
    """What came: a status that is no redirect."""

    status: int
    body: bytes
    retry_seconds: float
    """What `Retry-After` says; 0: nothing."""


class Web:
    """Who asks. `who`: what the other side is, for messages."""

    def __init__(self, who: str, clock: Clock, tls: ssl.SSLContext | None = None) -> None:
        """`tls`: which certificates are trusted; None: those that the system trusts."""
        self._who = who
        self._clock = clock
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._not_before: dict[str, float] = {}
        """By origin (scheme, host and port) the time of the clock until when nothing is asked."""

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | None = None,
        *,
        seconds: float,
        bytes_max: int = ANSWER_BYTES_MAX,
    ) -> Answer:
        """Ask, and read the answer whole, in so many seconds and bytes at most. HookFailed."""
        self._check_patience(url)
        reason = ""
        try:
            async with asyncio.timeout(seconds):
                answer = await self._ask(method, url, headers, data, bytes_max)
        except TimeoutError:
            reason = f"has not answered within {seconds:g} seconds"
        except (aiohttp.ClientConnectorError, ssl.SSLError) as error:
            reason = f"cannot be reached: {error}"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = f"cannot be asked: the connection or the answer broke ({_kind(error)})"
        if reason:
            raise self.failed(url, reason)
        if answer is None:
            raise self.failed(url, f"answers with more than {bytes_max} bytes, and was cut off")
        if answer.status in _REDIRECTS:
            reason = f"answers with a redirect ({answer.status}), which is not followed: give"
            raise self.failed(url, f"{reason} the address itself")
        if answer.status in _BUSY and answer.retry_seconds:
            until = self._clock.monotonic() + answer.retry_seconds
            self._not_before[_origin(url)] = until
        return answer

    def failed(self, url: str, reason: str, retry_seconds: float = 0.0) -> HookFailed:
        """An error that names who was asked."""
        return HookFailed(f"{self._who} at {url} {reason}", retry_seconds)

    def _check_patience(self, url: str) -> None:
        left = self._not_before.get(_origin(url), 0.0) - self._clock.monotonic()
        if left > 0:
            reason = f"wants to be left alone for another {left:.0f} seconds (Retry-After)"
            raise self.failed(url, reason, left)
        self._not_before.pop(_origin(url), None)

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None, bytes_max: int
    ) -> Answer | None:
        """None: the answer is too long."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None),
                headers={"User-Agent": "farshore", "Accept-Encoding": "identity"},
            )
        async with self._session.request(
            method,
            URL(url, encoded=True),
            data=data,
            headers=headers,
            allow_redirects=False,
            ssl=self._tls or True,
        ) as response:
            if response.status in _REDIRECTS:
                response.close()
                return Answer(response.status, b"", 0.0)
            body = bytearray()
            async for block in response.content.iter_any():
                body += block
                if len(body) > bytes_max:
                    response.close()
                    return None
            wait = self._retry_seconds(response.headers.get("Retry-After", ""))
            return Answer(response.status, bytes(body), wait)

    def _retry_seconds(self, text: str) -> float:
        """Of the header: seconds, or a date (RFC 9110, 10.2.3)."""
        if text.isascii() and text.isdigit() and len(text) < 10:
            wait = float(text)
        else:
            try:
                wait = parsedate_to_datetime(text).timestamp() - self._clock.wall_ms() / 1000
            except (ValueError, TypeError, IndexError, OverflowError):
                return 0.0
        return min(max(wait, 0.0), RETRY_SECONDS_MAX)


def _origin(url: str) -> str:
    return str(URL(url, encoded=True).origin())


def _kind(error: BaseException) -> str:
    return type(error).__name__
