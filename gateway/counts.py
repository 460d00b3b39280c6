"""What the gateway counts of requests: for whoever shows it, who need not be known here.

This is in the path of every request, so it is additions to plain numbers, made once when a request
has ended (`end`), on the event loop. All else (sums, names, texts) is left to who looks.
"""

from collections import Counter
from typing import Protocol

from dc.histogram import Histogram

SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""Bounds of the histogram: a small GET takes a fraction of the first, a large PUT a minute."""
CLASSES = 6
"""Of answers: none, and those of the statuses 1xx to 5xx."""
UNKNOWN = "none"
"""The operation of requests that were refused before it was known."""
PREFLIGHT = "Preflight"
WEBSITE = "Website"
"""Those that are not in Amazon's model."""


class Answered(Protocol):
    """The status of an answer."""

    status: int


class Ended(Protocol):
    """What is looked at of a request (`gateway.request`)."""

    operation: str
    received: int
    sent: int

    @property
    def reply(self) -> Answered | None: ...


class Tally:
    """Of one operation."""

    __slots__ = ("answers", "received", "seconds", "sent")

    def __init__(self) -> None:
        self.answers = [0] * CLASSES
        """By hundreds of the status; 0: the client was gone before there was an answer."""
        self.seconds = Histogram(SECONDS)
        self.received = 0
        self.sent = 0


class Counts:
    """Of one gateway, since it was started."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.malformed = 0
        """What was no HTTP, and so no request."""
        self.operations: dict[str, Tally] = {}
        """Those that were asked for."""
        self.codes: Counter[str] = Counter()
        """Answers by the code of their error."""

    def end(self, request: Ended, seconds: float) -> None:
        """A request has ended, whatever came of it."""
        self.ended += 1
        tally = self.operations.get(request.operation)
        if tally is None:
            tally = self.operations[request.operation] = Tally()
        tally.seconds.note(seconds)
        tally.received += request.received
        tally.sent += request.sent
        reply = request.reply
        tally.answers[0 if reply is None else reply.status // 100] += 1
