"""What a name server is asked about multipart uploads: the part of `dc/names/service.py` that keeps
those that are in progress."""

from collections.abc import Sequence

from dc.names import listing, registers, uploads
from dc.names.api import NoSuchBucket, StampTooOld
from dc.names.directory import MemoryDirectory
from dc.names.merge import record
from dc.names.model import Condition, Event, Upload, UploadPart, Version
from dc.names.peering import PeerNames
from dc.names.transaction import Transaction
from dc.stamps import Stamp


class UploadNames(PeerNames):
    """A base of `SqliteNames`, which sets what stands here."""

    _directory: MemoryDirectory

    def _live_number(self, bucket: str) -> int:
        known = self._directory.bucket_by_id(bucket)
        if known is None or not known.live:
            raise NoSuchBucket(bucket)
        return self._directory.number(bucket)

    def _check_floor(self, stamp: Stamp) -> None:
        if stamp <= self.knowledge.floor:
            raise StampTooOld("the change took too long to be stored: make it again")

    async def create_upload(self, upload: Upload) -> None:
        number = self._live_number(upload.bucket)

        def act(transaction: Transaction) -> None:
            registers.require_live(transaction, number)
            uploads.create(transaction, number, upload)

        await self._writer.action(act)

    async def upload(self, upload_id: str) -> Upload | None:
        return await self._read(lambda db: uploads.read(db, upload_id))

    async def uploads(
        self,
        bucket_id: str,
        *,
        prefix: str = "",
        after: tuple[str, str] = ("", ""),
        limit: int = 1001,
    ) -> list[Upload]:
        number = self._directory.number(bucket_id)
        stop = listing.after_all(prefix) or listing.END
        return await self._read(
            lambda db: uploads.read_many(db, number, prefix, stop, after, limit)
        )

    async def put_part(self, upload_id: str, part: UploadPart) -> None:
        await self._writer.action(
            lambda transaction: uploads.put_part(transaction, upload_id, part)
        )

    async def parts(
        self, upload_id: str, *, after: int = 0, limit: int = 10_000
    ) -> list[UploadPart]:
        return await self._read(lambda db: uploads.read_parts(db, upload_id, after, limit))

    async def complete_upload(
        self,
        upload_id: str,
        version: Version,
        *,
        only_if: Condition | None = None,
        events: Sequence[Event] = (),
    ) -> None:
        self._check_floor(version.stamp)
        number = self._live_number(version.bucket)
        completed = record(number, version)

        def act(transaction: Transaction) -> None:
            registers.require_live(transaction, number)
            uploads.complete(transaction, upload_id, version.bucket, completed, only_if)

        await self._rare(act, events)

    async def completed_upload(self, upload_id: str) -> tuple[str, str, str, Stamp] | None:
        return await self._read(lambda db: uploads.read_completed(db, upload_id))

    async def abort_upload(self, upload_id: str) -> None:
        await self._writer.action(lambda transaction: uploads.abort(transaction, upload_id))
