"""DeleteObject and DeleteObjects.

In a bucket that never had versioning a deletion leaves a tombstone, which travels like a write.
Where there are versions, one without a version id puts a delete marker on top, and one with it
takes that version away for good, if no lock keeps it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from dc.names.model import NULL_VERSION, Condition, Kind, Removal, Tombstone, Version
from dc.stamps import Stamp
from gateway.body import announced_length, receive
from gateway.checksums import BodyVerifier
from gateway.conditions import delete_condition, etags_in, modified_second, whole_number
from gateway.context import Context
from gateway.errors import S3Error
from gateway.limits import DELETE_KEYS_MAX, XML_BYTES_MAX
from gateway.locks import is_lockable, may_bypass
from gateway.notifications.records import What, told
from gateway.refusals import refused
from gateway.reply import XMLNS, Reply, xml_reply
from gateway.request import Deleted, Request
from gateway.target import check_key
from gateway.versioning import (
    as_now,
    is_version_id,
    marker_at,
    marker_lines,
    shown_id,
    state_of,
    vid_of,
)
from gateway.xmltext import child_texts, children, escape, parse_document

_JUDGED_AT_ONCE = 4
"""Keys: a policy may take long about each, and others are to be served in between."""


class _Named(NamedTuple):
    """An object that a DeleteObjects names."""

    key: str
    version_id: str | None
    condition: dict[str, str]
    """The elements that say what must be there."""


async def delete_object(context: Context, request: Request) -> Reply:
    """Delete an object, or a version of it; what does not exist is no error."""
    names = context.names
    stamp = await names.stamp()
    bucket = as_now(names.directory, request.bucket)
    if request.plain and not bucket.registers and not request.target.query:
        # No versions, no locks, nobody to be told.
        gone = Tombstone(bucket=bucket.id, key=request.key, vid=NULL_VERSION, stamp=stamp)
        await names.delete((gone,))
        return Reply(204)
    only_if = None if request.plain else delete_condition(request.headers)
    version_id = request.query.get("versionId")
    removal = _removal(context, request, request.key, version_id, only_if, stamp)
    change = removal.change
    if version_id is None and only_if is None:
        if isinstance(change, Version):
            await names.put(change, events=removal.events)
            return Reply(204, marker_lines(change.vid))
        await names.delete((change,), events=removal.events)
        return Reply(204)
    (outcome,) = await names.remove((removal,))
    if (error := refused(outcome)) is not None:
        raise error
    if isinstance(change, Version):
        return Reply(204, "" if outcome is not None else marker_lines(change.vid))
    if version_id is None:
        return Reply(204)
    if outcome is Kind.DELETE_MARKER:
        return Reply(204, marker_lines(change.vid))
    return Reply(204, f"x-amz-version-id: {shown_id(change.vid)}\r\n")


def _removal(
    context: Context,
    request: Request,
    key: str,
    version_id: str | None,
    only_if: Condition | None,
    stamp: Stamp,
) -> Removal:
    """What is to be done for a deletion. InvalidArgument for what is no version id."""
    bucket = as_now(context.names.directory, request.bucket)
    change: Version | Tombstone
    if version_id is None and state_of(bucket):
        change = marker_at(bucket, key, stamp)
        what, event = What(key, stamp, change.vid), "ObjectRemoved:DeleteMarkerCreated"
    else:
        vid = NULL_VERSION if version_id is None else vid_of(version_id)
        change = Tombstone(bucket=bucket.id, key=key, vid=vid, stamp=stamp)
        what, event = What(key, stamp, vid), "ObjectRemoved:Delete"
    return Removal(
        change=change,
        only_if=only_if,
        bypass=may_bypass(request, key),
        lockable=is_lockable(bucket),
        events=told(context, request, event, what),
    )


async def delete_objects(context: Context, request: Request) -> Reply:
    """Delete up to a thousand keys in one transaction."""
    length = announced_length(request, XML_BYTES_MAX, "MaxMessageLengthExceeded")
    verifier = BodyVerifier(request.headers, request.auth)
    if verifier.algorithm is None and "Content-MD5" not in request.headers:
        message = "Missing required header for this request: Content-MD5"
        raise S3Error("InvalidRequest", message)
    body, _ = await receive(request, length, verifier, context.offload)
    named, quiet = await context.offload.run(lambda: _parse(body))
    rows: list[str] = []
    removals: list[Removal] = []
    asked: list[_Named] = []
    batch: list[Deleted] = []
    stamps = await context.names.stamps(len(named))
    for place, one in enumerate(named):
        if not place % _JUDGED_AT_ONCE and not request.access.is_short:
            await context.offload.run(_nothing)
        try:
            check_key(one.key)
            request.access.check_key(one.key, one.version_id)
            if one.version_id is not None and not is_version_id(one.version_id):
                raise S3Error("NoSuchVersion")
            condition = _condition(one.condition)
            removals.append(
                _removal(context, request, one.key, one.version_id, condition, stamps[place])
            )
            asked.append(one)
        except S3Error as error:
            rows.append(_error_row(one, error))
            batch.append(_deleted(one, error))
    outcomes = await _remove(context, request, removals)
    for one, removal, outcome in zip(asked, removals, outcomes, strict=True):
        refusal = refused(outcome)
        batch.append(_deleted(one, refusal))
        if refusal is not None:
            rows.append(_error_row(one, refusal))
        elif not quiet:
            rows.append(_deleted_row(one, removal, outcome))
    request.batch = batch
    return xml_reply(f"<DeleteResult {XMLNS}>{''.join(rows)}</DeleteResult>")


async def _remove(context: Context, request: Request, removals: list[Removal]) -> Sequence[object]:
    """The outcome of each. Where nothing is to be looked at, the short way."""
    gone = [one.change for one in removals if isinstance(one.change, Tombstone)]
    plain = not state_of(request.bucket) and not any(
        one.only_if is not None or one.change.vid for one in removals
    )
    if not plain or len(gone) != len(removals):
        return await context.names.remove(removals)
    await context.names.delete(gone, events=[event for one in removals for event in one.events])
    return [None] * len(removals)


def _nothing() -> None:
    """For the event loop to go round."""


def _deleted(one: _Named, error: S3Error | None) -> Deleted:
    return Deleted(one.key, one.version_id or "", "" if error is None else error.code)


def _deleted_row(one: _Named, removal: Removal, outcome: object) -> str:
    row, change = f"<Deleted>{_shown(one)}", removal.change
    put = isinstance(change, Version) and outcome is None
    if put or outcome is Kind.DELETE_MARKER:
        vid = shown_id(change.vid)
        row += "<DeleteMarker>true</DeleteMarker>"
        row += f"<DeleteMarkerVersionId>{vid}</DeleteMarkerVersionId>"
    return f"{row}</Deleted>"


def _error_row(one: _Named, error: S3Error) -> str:
    return (
        f"<Error>{_shown(one)}<Code>{error.code}</Code>"
        f"<Message>{escape(error.message)}</Message></Error>"
    )


def _shown(one: _Named) -> str:
    shown = f"<Key>{escape(one.key)}</Key>"
    if one.version_id is not None:
        shown += f"<VersionId>{escape(one.version_id)}</VersionId>"
    return shown


def _condition(texts: dict[str, str]) -> Condition | None:
    """What must be there. InvalidArgument."""
    if not texts:
        return None
    etag, modified, size = (texts.get(name) for name in _CONDITIONS)
    return Condition(
        match=() if etag is None else etags_in([etag]),
        modified_s=None if modified is None else modified_second(modified, "LastModifiedTime"),
        size=None if size is None else whole_number(size, "Size"),
    )


_CONDITIONS = ("ETag", "LastModifiedTime", "Size")


def _parse(body: bytes) -> tuple[list[_Named], bool]:
    """What is named, and whether to be quiet."""
    root = parse_document(body, "Delete")
    objects = children(root, "Object")
    if not 1 <= len(objects) <= DELETE_KEYS_MAX:
        raise S3Error("MalformedXML")
    named: list[_Named] = []
    for element in objects:
        texts = child_texts(element)
        key = texts.get("Key")
        if not key:
            raise S3Error("MalformedXML")
        condition = {name: texts[name] for name in _CONDITIONS if name in texts}
        named.append(_Named(key, texts.get("VersionId"), condition))
    quiet = children(root, "Quiet")
    text = (quiet[0].text or "").strip() if quiet else "false"
    if len(quiet) > 1 or text not in ("true", "false", "1", "0"):
        raise S3Error("MalformedXML")
    return named, text in ("true", "1")
