"""Letting the requests finish that are under way when a server stops.

aiohttp's own shutdown drops what still arrives on a connection from the moment that it begins, so
that an upload under way can never finish: it is waited for in vain, and cut off. So before it, this
closes connections only while they are idle, and waits until there are none, or time is up. It
reads one name of aiohttp that is not documented, as `gateway/connection.py` does; the version is
pinned, and tests/admin/test_serve.py sends half an upload after the signal.
"""

from aiohttp import web

from dc.ports import Clock

LOOK_SECONDS = 0.02


async def drain(server: web.Server, seconds: float, clock: Clock) -> None:
    """Return when no connection is left, or after `seconds`. Nobody must listen any more."""
    until = clock.monotonic() + seconds
    while server.connections and clock.monotonic() < until:
        for connection in server.connections:
            if not connection._request_in_progress:
                connection.close()
        await clock.sleep(LOOK_SECONDS)
