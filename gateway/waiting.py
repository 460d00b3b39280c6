"""Reading what was written in another datacenter: waiting for the position of a write.

The answer to a write says its position (`dc/positions.py`). A request that carries one, or some, is
begun when they are here: before its bucket is looked up and its sender let in, so that it is as if
it had been sent a little later. The version that it is about is looked up before it waits, for the
name servers remember only what came lately. What waits is bounded in time and, by the name servers,
in number.
"""

from collections.abc import Iterable, Sequence

from dc.names.api import Directory, GatewayNames
from dc.positions import POSITION_LENGTH, Position, read_position
from dc.stamps import stamp_origin
from gateway.errors import invalid_argument
from gateway.limits import POSITION_WAIT_S, POSITION_WAIT_S_MAX, POSITIONS_MAX
from gateway.positions import POSITION, PositionNotHere, is_reached
from gateway.request import Request
from gateway.versioning import is_version_id, vid_of

WAIT = "x-farshore-wait"
_TEXT_MAX = POSITIONS_MAX * (POSITION_LENGTH + 2)
_TEXT_SHOWN = 200
_NUMBER_CHARS_MAX = 6


async def wait_for_positions(names: GatewayNames, request: Request) -> None:
    """Return when all that a request names is here. InvalidArgument, PositionNotHere."""
    headers = request.headers
    positions = read_positions(headers.getall(POSITION))
    seconds = _seconds(headers.get(WAIT))
    if not request.user:
        # Strangers could take all the places of those who wait.
        seconds = 0.0
    missing = await names.missing(positions, 0.0)
    if missing:
        missing = await _unreached(names, request, missing)
    if missing and seconds:
        missing = await names.missing(missing, seconds)
    if missing:
        raise _not_here(names.directory, missing, seconds)


async def _unreached(
    names: GatewayNames, request: Request, positions: list[Position]
) -> list[Position]:
    """Those that are not reached by what is here of the version that a request is about: it may
    have come longer ago than is remembered, and not be covered yet."""
    bucket, key = names.directory.bucket(request.target.bucket), request.target.key
    version_id = request.target.query.get("versionId")
    if bucket is None or not key:
        return positions
    if version_id is None:
        here = await names.current(bucket.id, key)
    elif is_version_id(version_id):
        here = await names.version(bucket.id, key, vid_of(version_id))
    else:
        return positions
    if here is None:
        return positions
    return [one for one in positions if not is_reached(one, here)]


def read_positions(texts: Iterable[str]) -> list[Position]:
    """InvalidArgument."""
    text = ",".join(texts)
    parts = text.split(",") if len(text) <= _TEXT_MAX else []
    if not 1 <= len(parts) <= POSITIONS_MAX:
        message = f"There may be {POSITIONS_MAX} positions at most, joined by commas."
        raise invalid_argument(message, POSITION, text[:_TEXT_SHOWN])
    try:
        return [read_position(part.strip()) for part in parts]
    except ValueError as error:
        raise invalid_argument(str(error), POSITION, text[:_TEXT_SHOWN]) from None


def _seconds(text: str | None) -> float:
    """How long to wait. InvalidArgument."""
    if text is None:
        return POSITION_WAIT_S
    whole, _, part = text.partition(".")
    good = len(text) <= _NUMBER_CHARS_MAX and text.isascii() and whole.isdigit()
    if good and (part.isdigit() or text == whole) and float(text) <= POSITION_WAIT_S_MAX:
        return float(text)
    message = f"The time to wait must be a number of seconds from 0 to {POSITION_WAIT_S_MAX:g}."
    raise invalid_argument(message, WAIT, text[:_TEXT_SHOWN])


def _not_here(directory: Directory, missing: Sequence[Position], seconds: float) -> PositionNotHere:
    position = missing[0]
    origin = stamp_origin(position.stamp)
    site = directory.site(origin)
    whose = f"a datacenter that is not known here ({origin})" if site is None else site.name
    message = (
        f"The write at this position, made in {whose}, has not come here within {seconds:g} "
        "seconds. Try again, or ask where it was made. What was made in a datacenter that is not "
        "paired with this one, not even through others, never comes."
    )
    return PositionNotHere(message, missing)
