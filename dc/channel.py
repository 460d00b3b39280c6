"""Calls between paired datacenters, for what is not replication: a name, bytes there, bytes back.

The replicator carries them (`Replicator.call`, `Replicator.serve`), over the same authenticated
connections, with the same limits and pauses as everything that goes between two datacenters.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from dc.names.model import Peer

Answer = Callable[[bytes, Peer], Awaitable[bytes]]
"""What answers a call: its body and who calls in, the answer's body out."""


class ChannelFailed(Exception):
    """There was no answer; the text says why."""


class CannotAnswer(Exception):
    """What answers a call cannot do so now; who asks is told that it failed, and may ask again."""


class Channel(Protocol):
    """To all peers."""

    async def call(self, dc_id: str, name: str, body: bytes) -> bytes:
        """Ask a peer: ChannelFailed. The answer has 16 MiB at most, a question 1 MiB."""
        ...

    def serve(self, answers: Mapping[str, Answer]) -> None:
        """Answer calls of these names."""
        ...
