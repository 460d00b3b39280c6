"""A notary service that is told of entries and checkpoints over HTTPS (docs/notary-hooks.md has
what goes over the wire).

There is no plain HTTP, not even to the own machine: the key goes with each request, DNS names can
lead anywhere, and a test needs no more than a CA of its own.
"""

import hashlib
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence

import msgspec

from notary.entries import Entry, encode
from notary.errors import HookFailed
from notary.hooks import Hook, Settings
from notary.note import Checkpoint
from notary.plugins import options, service_file
from notary.plugins.service_file import Service
from notary.plugins.web import SHARE, Answer, Web

NAME = "service"
ENTRIES_MAX = 100
CHECKPOINT_SECONDS = 300.0
ANSWER_BYTES_MAX = 64 << 10
RECEIPT_BYTES_MAX = 32 << 10
_TAKEN = (200, 201, 202, 204)
_THERE_ALREADY, _TOO_LARGE, _REFUSED = 409, 413, (401, 403)


class Options(options.Table, frozen=True):
    """`[notary.hooks.service]`: nothing; service.json has it all."""


class _Batch(msgspec.Struct, frozen=True):
    """Of a POST to /v1/entries."""

    dc: str
    dc_id: str
    first: int
    entries: list[msgspec.Raw]


class _Note(msgspec.Struct, frozen=True):
    """Of a POST to /v1/checkpoints."""

    checkpoint: str


class _Receipt(msgspec.Struct, frozen=True):
    """What may be in the answer to it."""

    receipt: str | None = None


class ServiceHook(Hook):
    """The hook."""

    name = NAME
    entries_max = ENTRIES_MAX
    checkpoint_seconds = CHECKPOINT_SECONDS

    def __init__(self, service: Service | None, dc: str, dc_id: str, web: Web) -> None:
        """`service`: None for who is only to explain."""
        self._service = service
        self._dc = dc
        self._dc_id = dc_id
        self._web = web

    async def entries(self, first: int, entries: Sequence[Entry]) -> None:
        """HookFailed. A batch that is too large for the service is sent in halves, and later ones
        are as small."""
        each = [msgspec.Raw(encode(entry)) for entry in entries]
        body = msgspec.json.encode(_Batch(self._dc, self._dc_id, first, each))
        answer = await self._post("entries", body, f"{self._dc_id}/{first}+{len(entries)}")
        if answer.status == _TOO_LARGE and len(entries) > 1 and not answer.retry_seconds:
            half = self.entries_max = (len(entries) + 1) // 2
            await self.entries(first, entries[:half])
            await self.entries(first + half, entries[half:])
            return
        self._expect("entries", answer)

    async def checkpoint(self, checkpoint: Checkpoint) -> bytes | None:
        """The service's receipt, if it gives one. HookFailed."""
        body = msgspec.json.encode(_Note(str(checkpoint)))
        key = f"{self._dc_id}/checkpoint/{checkpoint.size}"
        answer = await self._post("checkpoints", body, key)
        self._expect("checkpoints", answer)
        if answer.status == _THERE_ALREADY or not answer.body.strip():
            return None
        receipt = receipt_in(answer.body)
        if receipt is None:
            raise self._failed("checkpoints", "gave a receipt that is none, or is too long")
        return receipt or None

    def explain(self, body: str, root: bytes, timestamp: bytes) -> str:
        if not 0 < len(timestamp) <= RECEIPT_BYTES_MAX:
            raise ValueError("it is no receipt of a notary service: it has no bytes, or too many")
        digest = hashlib.sha256(timestamp).hexdigest()
        return (
            f"receipt of a notary service, of {len(timestamp)} bytes (SHA-256 {digest}): not looked"
            " into, the service can say what it shows"
        )

    async def close(self) -> None:
        await self._web.close()

    async def _post(self, what: str, body: bytes, idempotency_key: str) -> Answer:
        assert self._service is not None, "this hook is only to explain"
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Authorization": f"Bearer {self._service.key}",
            "Idempotency-Key": idempotency_key,
        }
        url = self._url(what)
        return await self._web.ask(
            "POST", url, headers, body, seconds=self.seconds * SHARE, bytes_max=ANSWER_BYTES_MAX
        )

    def _expect(self, what: str, answer: Answer) -> None:
        """HookFailed for an answer that does not say that it is there. Of its words none is
        repeated: they may have the key in them."""
        status = answer.status
        if status in _TAKEN or status == _THERE_ALREADY:
            return
        if status in _REFUSED:
            raise self._failed(
                what,
                f"refuses the key (status {status}): ask its operator for one, then"
                " `farshore notary service set`",
            )
        if status == _TOO_LARGE:
            reason = f"takes no body that is so large (status {status})"
        elif status == 429:
            reason = f"is asked too often (status {status})"
        elif status >= 500:
            reason = f"has a failure of its own (status {status})"
        else:
            reason = f"does not take it (status {status}): is it a notary service?"
        raise self._failed(what, reason, answer.retry_seconds)

    def _failed(self, what: str, reason: str, retry_seconds: float = 0.0) -> HookFailed:
        return self._web.failed(self._url(what), reason, retry_seconds)

    def _url(self, what: str) -> str:
        assert self._service is not None
        return f"{self._service.url}/v1/{what}"


def make(settings: Settings) -> ServiceHook | None:
    """The plug-in; None when no service is set. NotaryRefused."""
    options.read(NAME, settings.options, Options)
    service = None if settings.to_explain else service_file.read(settings.folder)
    if service is None and not settings.to_explain:
        return None
    tls = service_file.tls(settings.folder, service) if service is not None else None
    web = Web("the notary service", settings.clock, tls)
    return ServiceHook(service, settings.dc, settings.dc_id, web)


def receipt_in(body: bytes) -> bytes | None:
    """Empty when there is none; None when it is damaged."""
    try:
        text = msgspec.json.decode(body, type=_Receipt).receipt
        data = b64decode(text or "", validate=True)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, Base64Error, ValueError):
        return None
    return data if len(data) <= RECEIPT_BYTES_MAX else None
