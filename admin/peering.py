"""Replication as the admin part sees it."""

from typing import Any

from admin.api import Paired, PairingRefused
from dc.names.api import Names
from dc.names.model import Peer


class NoPeering:
    """A datacenter that stands alone."""

    def __init__(self, names: Names) -> None:
        self._names = names

    async def start(self) -> int:
        return 0

    async def stop(self) -> None: ...

    def issue_token(self, lifetime_seconds: int) -> tuple[str, int]:
        raise PairingRefused("replication is not built in")

    async def join(self, token: str) -> Paired:
        raise PairingRefused("replication is not built in")

    def peers(self) -> list[Peer]:
        return self._names.peers()

    async def remove(self, dc_id: str) -> None:
        await self._names.remove_peer(dc_id)

    def status(self) -> dict[str, Any]:
        return {"peers": []}
