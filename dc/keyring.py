"""Data keys: what objects are encrypted with that the datacenter encrypts by itself (SSE-S3).

A DC makes one of 32 bytes when it first needs it, and writes with the latest that it made; it reads
with all that it knows of. A data key is a record like an access key (`dc.accounts`): encrypted at
rest for this DC, sealed in travel to each peer, on to peers of peers. Its owner is `DATA_KEYS`,
which is no user and cannot become one, so that no request can be signed with it.

The record is committed before anything is written with the key, and so travels ahead of it.
"""

import asyncio
import base64

from dc.names.api import GatewayNames
from dc.names.model import DATA_KEYS, AccessKey
from dc.ports import Randomness
from dc.stamps import stamp_origin
from tokens.secret_store import SecretStore

KEY_BYTES = 32


def data_key_context(key_id: str) -> bytes:
    """What an encrypted data key is bound to."""
    return f"{DATA_KEYS}/{key_id}".encode()


class Keyring:
    """The data keys of one DC."""

    def __init__(self, names: GatewayNames, secrets: SecretStore, randomness: Randomness) -> None:
        self._names = names
        self._secrets = secrets
        self._randomness = randomness
        self._opened: dict[str, bytes] = {}
        self._own = ""
        self._making = asyncio.Lock()

    def key(self, key_id: str) -> bytes | None:
        """A data key, None when its record has not come yet. From memory; they are never deleted.
        SecretError when it does not open."""
        opened = self._opened.get(key_id)
        if opened is None:
            record = self._records().get(key_id)
            if record is None:
                return None
            opened = self._secrets.decrypt(record.secret, data_key_context(key_id))
            self._opened[key_id] = opened
        return opened

    async def current(self) -> tuple[str, bytes]:
        """The data key to write with, and its id."""
        if not self._own:
            async with self._making:
                self._own = self._own or self._latest() or await self._make()
        key = self.key(self._own)
        assert key is not None
        return self._own, key

    def _records(self) -> dict[str, AccessKey]:
        """By id, oldest first."""
        return {record.id: record for record in self._names.directory.keys_of(DATA_KEYS)}

    def _latest(self) -> str:
        """The latest that this DC has made, "" when there is none."""
        origin = self._names.dc_id
        own = [one.id for one in self._records().values() if stamp_origin(one.stamp) == origin]
        return own[-1] if own else ""

    async def _make(self) -> str:
        key_id = "DK" + base64.b32encode(self._randomness.token(15)).decode()[:18]
        secret = self._secrets.encrypt(self._randomness.token(KEY_BYTES), data_key_context(key_id))
        stamp = await self._names.stamp()
        await self._names.add_data_key(
            AccessKey(id=key_id, user=DATA_KEYS, secret=secret, stamp=stamp)
        )
        return key_id
