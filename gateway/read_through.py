"""Read-through at the gateway: keys that are not known here, bytes that are not here.

`docs/read-through.md` has what is promised; `dc.read_through.Others` does the asking. Here it is
decided who may have others asked, and said who has answered:

    x-farshore-read-through: paris     who told of the version, or gave its bytes
    x-farshore-unasked: oslo, tokyo    who could not be asked, or did not answer in time
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import structlog

from dc.names.model import Bucket, Version
from dc.objects.api import BytesElsewhere, ObjectsError
from dc.ports import Buffer
from dc.read_through import NotGiven, TooManyAsked, reads_through
from gateway.context import Context
from gateway.errors import S3Error
from gateway.reply import header_line
from gateway.request import Access, Request
from gateway.versioning import vid_of

log = structlog.get_logger("gateway")

THROUGH = "x-farshore-read-through"
UNASKED = "x-farshore-unasked"


async def sought(
    context: Context,
    request: Request,
    access: Access,
    bucket: Bucket,
    key: str,
    version_id: str | None,
    *,
    newer: bool = False,
) -> tuple[Version | None, str]:
    """What other datacenters have of a version that is not known here, or `newer` than what is, and
    which of them told of it: to be authorised like any. Nobody is asked for who may not. SlowDown,
    InvalidArgument."""
    vid = None if version_id is None else vid_of(version_id)
    if not access.may_seek():
        return None, ""
    if context.others is None:
        say_unasked(request, [peer.name for peer in context.names.peers()])
        return None, ""
    try:
        found = await context.others.find(bucket.id, key, vid, newer=newer)
    except TooManyAsked:
        raise slow_down() from None
    say_unasked(request, found.unasked)
    return found.version, found.datacenter


def say_unasked(request: Request, names: list[str]) -> None:
    """Let the answer say who could not be asked."""
    if names:
        request.common += header_line(UNASKED, ", ".join(names))


def say_through(request: Request, datacenter: str) -> None:
    """Let the answer say who has told, or given the bytes: the last one counts."""
    lines = [one for one in request.common.split("\r\n") if not one.startswith(f"{THROUGH}: ")]
    request.common = "\r\n".join(lines) + header_line(THROUGH, datacenter)


def stored(
    context: Context, request: Request | None, version: Version, start: int, stop: int
) -> AsyncIterator[Buffer]:
    """The bytes [start, stop) of an object as stored: from here, or from a datacenter that has
    them when they may be read through. `request`: whose answer is to say so."""
    if context.others is None or not reads_through(
        context.names.directory.bucket_by_id(version.bucket)
    ):
        return context.objects.read(version.extents, start, stop)
    return _through(context, request, version, start, stop)


async def _through(
    context: Context, request: Request | None, version: Version, start: int, stop: int
) -> AsyncIterator[Buffer]:
    """What can be read here, then the rest from elsewhere. ServiceUnavailable, SlowDown; where
    nobody gives what cannot be read here, the error of that."""
    at = start
    try:
        async with aclosing(cast(Any, context.objects.read(version.extents, start, stop))) as local:
            async for piece in local:
                yield piece
                at += len(piece)
        return
    except ObjectsError as error:
        failure = error
    assert context.others is not None
    try:
        passing = await context.others.open(version, at, stop)
    except (NotGiven, TooManyAsked) as error:
        if at > start or not isinstance(failure, BytesElsewhere):
            raise failure from None
        if isinstance(error, TooManyAsked):
            raise slow_down() from None
        message = "No datacenter gives the bytes of this object now. Try again later."
        raise S3Error("ServiceUnavailable", message) from None
    if not isinstance(failure, BytesElsewhere):
        log.error(
            "object cannot be read here, and is read from elsewhere",
            key=version.key,
            datacenter=passing.datacenter,
            error=f"{type(failure).__name__}: {failure}",
        )
    if request is not None and at == start:
        say_through(request, passing.datacenter)
    async with aclosing(cast(Any, passing.pieces)) as pieces:
        async for piece in pieces:
            yield piece


def slow_down() -> S3Error:
    """The answer when no more is asked of other datacenters."""
    message = "Too much is being read from other datacenters. Try again later."
    return S3Error("SlowDown", message)
