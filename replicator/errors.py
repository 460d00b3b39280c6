"""What can go wrong between datacenters, as one small tree.

ReplicatorError
    WireError           a peer sent what the protocol does not allow; the connection is dropped
    Stuck               a peer's feed has more, and nothing of it comes
    Refused             a peer does not let this DC in
    Paused              a peer has paused all dealings with this DC
    Unreachable         no endpoint of a peer answers
    BodyUnavailable     a peer cannot give a body now; try again
    BodyCorrupt         bytes of a body arrived that are not the object's; try again
    NotCompared         two DCs cannot be compared now; the text says why
    FileRefused         a file of changes that is not taken; `code` says in a word why
    PairingError        a pairing that cannot be; the text says what to do
"""


class ReplicatorError(Exception):
    """The root of the tree."""


class WireError(ReplicatorError):
    """A peer sent something outside the protocol."""


class Stuck(ReplicatorError):
    """The stream is open and has more, but nothing of it comes: it is opened anew."""


class Refused(ReplicatorError):
    """A peer answered 403: it has removed this DC, or the clocks differ by more than a minute."""


class Paused(ReplicatorError):
    """A peer has paused all dealings with this DC, since then (milliseconds since 1970)."""

    def __init__(self, since_ms: int) -> None:
        super().__init__("the operator there has paused it")
        self.since_ms = since_ms


class Unreachable(ReplicatorError):
    """No endpoint of a peer answers."""


class BodyUnavailable(ReplicatorError):
    """The peer has the version, but cannot give its bytes now."""


class BodyCorrupt(ReplicatorError):
    """The bytes that came are not those of the object: size or CRC-64/NVME differ."""


class PairingError(ReplicatorError):
    """Two DCs cannot be paired this way."""


class FileRefused(ReplicatorError):
    """A file of `replication export` that is not taken, from here on (`docs/air-gap.md`)."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class NotCompared(ReplicatorError):
    """Two DCs cannot be compared now."""


def printable(error: object) -> str:
    """At most 200 printable characters: words that may quote what somebody hostile wrote."""
    return ascii(str(error))[1:-1][:200]
