"""Which operation a request asks for: by method, by whether it has a key, by subresource.

A subresource of S3 that is not done yet is refused with NotImplemented: to ignore it would mean,
for instance, to overwrite an object with what was to be its tags. Other parameters that S3 does not
know either are ignored, as S3 does.
"""

from collections.abc import Awaitable, Callable

from gateway import buckets, copy, delete, listing, multipart, parts, put, read, upload_listing
from gateway.context import Context
from gateway.copy import COPY_SOURCE
from gateway.errors import S3Error
from gateway.reply import XMLNS, Reply, xml_reply
from gateway.request import Request

Operation = Callable[[Context, Request], Awaitable[Reply | None]]

_SUBRESOURCES = frozenset(
    (
        *("abac", "accelerate", "acl", "analytics", "append", "attributes", "cors", "delete"),
        *("encryption", "intelligent-tiering", "inventory", "legal-hold", "lifecycle"),
        *("location", "logging", "metadataConfiguration", "metadataInventoryTable"),
        *("metadataJournalTable", "metadataTable", "metrics", "notification", "object-lock"),
        *("ownershipControls", "policy", "policyStatus", "publicAccessBlock", "renameObject"),
        *("replication", "requestPayment", "restore", "retention", "select", "session"),
        *("tagging", "torrent", "uploadId", "uploads", "versioning", "versions", "website"),
    )
)
_OBJECT: dict[str, Operation] = {
    "GET": read.get_object,
    "HEAD": read.head_object,
    "PUT": put.put_object,
    "DELETE": delete.delete_object,
}
_BUCKET: dict[str, Operation] = {
    "GET": listing.list_objects,
    "HEAD": buckets.head_bucket,
    "PUT": buckets.create_bucket,
    "DELETE": buckets.delete_bucket,
}


async def _no_tags(_context: Context, _request: Request) -> Reply:
    return xml_reply(f"<Tagging {XMLNS}><TagSet/></Tagging>")


_OBJECT_SUBRESOURCES: dict[tuple[str, str], Operation] = {
    ("GET", "acl"): buckets.get_acl,
    ("GET", "tagging"): _no_tags,
    ("POST", "uploads"): multipart.create_upload,
    ("PUT", "uploadId"): parts.put_part,
    ("GET", "uploadId"): parts.list_parts,
    ("POST", "uploadId"): multipart.complete_upload,
    ("DELETE", "uploadId"): multipart.abort_upload,
}
_BUCKET_SUBRESOURCES: dict[tuple[str, str], Operation] = {
    ("GET", "location"): buckets.get_location,
    ("GET", "acl"): buckets.get_acl,
    ("POST", "delete"): delete.delete_objects,
    ("GET", "uploads"): upload_listing.list_uploads,
}


def find_operation(request: Request) -> Operation:
    """NotImplemented, MethodNotAllowed."""
    target, method = request.target, request.method
    if target.key and not target.query:
        if method == "PUT" and COPY_SOURCE in request.headers:
            return copy.copy_object
        operation = _OBJECT.get(method)
        if operation is not None:
            return operation
    named = [name for name in target.query if name in _SUBRESOURCES] if target.query else []
    if named:
        return _subresource(request, named)
    table = _OBJECT if target.key else _BUCKET
    operation = table.get(method)
    if operation is put.put_object and COPY_SOURCE in request.headers:
        operation = copy.copy_object
    if operation is None:
        if method == "POST" and not target.key:
            raise S3Error("NotImplemented", "Uploads by POST of a form are not implemented.")
        raise S3Error("MethodNotAllowed", extra={"Method": method, "ResourceType": _kind(request)})
    return operation


def _subresource(request: Request, named: list[str]) -> Operation:
    name, method = named[0], request.method
    if len(named) > 1:
        raise S3Error("InvalidRequest", f"{named[0]} and {named[1]} cannot be asked together.")
    table = _OBJECT_SUBRESOURCES if request.target.key else _BUCKET_SUBRESOURCES
    operation = table.get((method, name))
    if operation is not None:
        return operation
    if method == "GET" and not request.target.key and name in buckets.NEVER_SET:
        return buckets.NEVER_SET[name]
    raise S3Error(
        "NotImplemented",
        f"{method} of the subresource {name} is not implemented.",
        extra={"Method": method, "ResourceType": name.upper()},
    )


def _kind(request: Request) -> str:
    return "OBJECT" if request.target.key else "BUCKET"
