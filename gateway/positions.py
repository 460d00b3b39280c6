"""Reading what was written in another datacenter: the position of a write, and waiting for it.

The answer to a write says its position (`dc/positions.py`). A request that carries one, or some, is
begun when they are here: before its bucket is looked up and its sender let in, so that it is as if
it had been sent a little later. What waits is bounded in time and, by the name servers, in number.
"""

from collections.abc import Iterable, Sequence

from dc.names.api import Directory, GatewayNames
from dc.positions import POSITION_LENGTH, Position, position_of, read_position
from dc.stamps import Stamp, stamp_origin
from gateway.errors import S3Error, invalid_argument
from gateway.limits import (
    POSITION_WAIT_S,
    POSITION_WAIT_S_MAX,
    POSITIONS_MAX,
    POSITIONS_TOLD_MAX,
)
from gateway.request import Request

POSITION = "x-farshore-position"
WAIT = "x-farshore-wait"
_TEXT_MAX = POSITIONS_MAX * (POSITION_LENGTH + 2)
_TEXT_SHOWN = 200
_NUMBER_CHARS_MAX = 6


def position_line(stamp: Stamp, bucket_id: str, key: str = "", vid: str = "") -> str:
    """The header line of the answer to a write: of a version; with "" for the key of the bucket,
    or of the setting of it that `vid` names."""
    return f"{POSITION}: {position_of(stamp, bucket_id, key, vid).text()}\r\n"


def positions_line(positions: Sequence[Position]) -> str:
    """The same of several writes, unless there are too many."""
    if not 0 < len(positions) <= POSITIONS_TOLD_MAX:
        return ""
    return f"{POSITION}: {','.join([one.text() for one in positions])}\r\n"


async def wait_for_positions(names: GatewayNames, request: Request) -> None:
    """Return when all that a request names is here. InvalidArgument, PositionNotHere."""
    headers = request.headers
    positions = read_positions(headers.getall(POSITION))
    seconds = _seconds(headers.get(WAIT))
    if not request.user:
        # Strangers could take all the places of those who wait.
        seconds = 0.0
    missing = await names.missing(positions, seconds)
    if missing:
        raise _not_here(names.directory, missing[0], seconds)


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


def _not_here(directory: Directory, position: Position, seconds: float) -> S3Error:
    origin = stamp_origin(position.stamp)
    site = directory.site(origin)
    whose = f"a datacenter that is not known here ({origin})" if site is None else site.name
    message = (
        f"The write at this position, made in {whose}, has not come here within {seconds:g} "
        "seconds. Try again, or ask where it was made. What was made in a datacenter that is not "
        "paired with this one, not even through others, never comes."
    )
    return S3Error("PositionNotHere", message, extra={"Position": position.text()})
