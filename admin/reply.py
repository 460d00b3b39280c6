"""How the admin API reads and answers: JSON both ways, and times as UTC."""

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from aiohttp import web

T = TypeVar("T")


def answer(facts: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    encoded = msgspec.json.encode(facts)
    return web.Response(
        body=encoded,
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        | (headers or {}),
    )


async def body(request: web.Request, shape: type[T]) -> T:
    data = await request.read()
    return msgspec.json.decode(data or b"{}", type=shape)


def utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
