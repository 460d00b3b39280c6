"""What gateways ask of the name servers: the part of `dc/names/api.py` that has a remote form.

All that stands here goes over a connection as it is (`dc/remote/`): arguments and results are plain
data, errors are those of `dc/names/errors.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol

from msgspec import Meta

from dc.names.directory_api import Directory
from dc.names.errors import NamesError
from dc.names.model import (
    AccessKey,
    Bucket,
    Condition,
    Event,
    Kind,
    Peer,
    Removal,
    Tombstone,
    Upload,
    UploadPart,
    Version,
)
from dc.names.pages import Page, VersionPage
from dc.positions import Position
from dc.stamps import Stamp

Few = Annotated[int, Meta(ge=0, le=10_001)]
"""What is checked of numbers that come over a connection."""


class GatewayNames(Protocol):
    """What gateways ask. `dc/remote/` gives it to those on other machines."""

    @property
    def dc_id(self) -> str:
        """The DC whose name servers these are."""
        ...

    @property
    def directory(self) -> Directory: ...

    async def stamp(self) -> Stamp:
        """A new stamp, later than those of all changes that were answered before the call."""
        ...

    async def stamps(self, count: Few) -> list[Stamp]:
        """So many of them, in order."""
        ...

    def peers(self) -> list[Peer]:
        """By name, from memory."""
        ...

    async def missing(self, positions: Sequence[Position], seconds: float) -> list[Position]:
        """Those of these writes that have not come here after so many seconds; none as soon as all
        have. One has come when it was made here, when it or a later one of the same item was
        applied here, or when it is covered. TooManyWaiting."""
        ...

    # -- buckets ------------------------------------------------------------------------------

    async def create_bucket(
        self, name: str, owner: str, region: str, *, registers: Mapping[str, str] = {}
    ) -> Bucket:
        """With these attributes. BucketExists when the name is taken, also by the same owner, or
        when another bucket is shown by it."""
        ...

    async def delete_bucket(self, bucket_id: str) -> Stamp:
        """Not by its name: another owner's bucket may have that a moment later.

        The stamp of the deletion. NoSuchBucket; BucketNotEmpty when it holds a version. Its open
        uploads are dropped."""
        ...

    async def set_bucket_registers(
        self, bucket_id: str, values: Mapping[str, str], *, events: Sequence[Event] = ()
    ) -> Stamp:
        """Set attributes of a bucket, all with one stamp, which is given; "" takes one away.
        NoSuchBucket."""
        ...

    # -- objects ------------------------------------------------------------------------------

    async def put(
        self,
        version: Version,
        *,
        only_if: Condition | None = None,
        events: Sequence[Event] = (),
    ) -> None:
        """Store a version whose bytes are durable. NoSuchBucket when its bucket is gone. An
        older one of the same vid is replaced; an older *this* loses. StampTooOld.

        `only_if` is what the current version must be; a delete marker is nothing.
        PreconditionFailed, NothingToMatch."""
        ...

    async def delete(
        self, tombstones: Sequence[Tombstone], *, events: Sequence[Event] = ()
    ) -> None:
        """Delete null versions for good, in buckets that never had versioning. What does not exist
        is no error. StampTooOld."""
        ...

    async def remove(self, removals: Sequence[Removal]) -> list[Kind | NamesError | None]:
        """Delete what may be deleted, in one transaction. Of each the kind of the version that is
        gone, None when there was none, or why it was not done: PreconditionFailed,
        NothingToMatch, ObjectLocked, NoSuchVersion. NoSuchBucket, StampTooOld for all."""
        ...

    async def set_registers(
        self,
        bucket_id: str,
        key: str,
        vid: str,
        values: Mapping[str, str],
        *,
        written: Stamp | None = None,
        bypass: bool = False,
        events: Sequence[Event] = (),
    ) -> None:
        """Set attributes of a version, all with one stamp; "" takes one away. NoSuchVersion.
        ObjectLocked when a retention would be loosened: of governance, `bypass` may do that.

        `written` is the stamp of the version that is meant. A null version that another write has
        replaced since then is left as it is: what was meant for the old one has gone with it."""
        ...

    async def current(self, bucket_id: str, key: str) -> Version | None:
        """The newest version of a key, which may be a delete marker."""
        ...

    async def version(self, bucket_id: str, key: str, vid: str) -> Version | None: ...

    async def list_objects(
        self,
        bucket_id: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        limit: Few = 1000,
    ) -> Page:
        """Current objects in UTF-8 order of their keys, those after `after` only. A common prefix
        is after `after` when it sorts after it and `after` does not begin with it."""
        ...

    async def list_versions(
        self,
        bucket_id: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: tuple[str, str | None] = ("", None),
        limit: Few = 1000,
    ) -> VersionPage:
        """All versions and delete markers in the order of their keys, newest first within one.
        `after`: those of later keys only, and with a version id the older ones of that key."""
        ...

    # -- multipart uploads --------------------------------------------------------------------

    async def create_upload(self, upload: Upload) -> None: ...

    async def upload(self, upload_id: str) -> Upload | None: ...

    async def uploads(
        self,
        bucket_id: str,
        *,
        prefix: str = "",
        after: tuple[str, str] = ("", ""),
        limit: Few = 1001,
    ) -> list[Upload]:
        """Uploads in progress by (key, id), those after `after` = (key, upload id) only."""
        ...

    async def put_part(self, upload_id: str, part: UploadPart) -> None:
        """NoSuchUpload when it is gone. A part of the same number is replaced."""
        ...

    async def parts(
        self, upload_id: str, *, after: int = 0, limit: Few = 10_000
    ) -> list[UploadPart]:
        """The parts by number, those after `after` only."""
        ...

    async def complete_upload(
        self,
        upload_id: str,
        version: Version,
        *,
        only_if: Condition | None = None,
        events: Sequence[Event] = (),
    ) -> None:
        """Store the version and end the upload in one transaction; NoSuchUpload when it is gone.
        `only_if` as of `put`: if it does not hold, the upload stays.
        The completed upload's id is remembered so that a repeated Complete can be answered."""
        ...

    async def completed_upload(self, upload_id: str) -> tuple[str, str, str, Stamp] | None:
        """(bucket id, key, vid, stamp) of an upload completed in the last day."""
        ...

    async def abort_upload(self, upload_id: str) -> None:
        """NoSuchUpload when it is gone."""
        ...

    # -- data keys ------------------------------------------------------------------------------

    async def add_data_key(self, key: AccessKey) -> None:
        """Store a key of `DATA_KEYS`, for good."""
        ...
