"""The output of an operation as an answer: status, header lines, and the XML document.

The model does not say what the root element is called where the whole output is the document;
the names here are those that S3 sends, and clients look for some of them.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from gateway.model.documents import document, member_of
from gateway.model.shapes import OPERATIONS, SHAPES, Operation
from gateway.model.structs import struct_of
from gateway.model.values import text_of
from gateway.reply import XMLNS, Reply, header_line, xml_reply
from gateway.xmltext import escape

ROOTS = {
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketAccelerateConfiguration": "AccelerateConfiguration",
    "GetBucketAcl": "AccessControlPolicy",
    "GetBucketCors": "CORSConfiguration",
    "GetBucketLifecycleConfiguration": "LifecycleConfiguration",
    "GetBucketLocation": "LocationConstraint",
    "GetBucketLogging": "BucketLoggingStatus",
    "GetBucketNotificationConfiguration": "NotificationConfiguration",
    "GetBucketRequestPayment": "RequestPaymentConfiguration",
    "GetBucketTagging": "Tagging",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetBucketWebsite": "WebsiteConfiguration",
    "GetObjectAcl": "AccessControlPolicy",
    "GetObjectAttributes": "GetObjectAttributesResponse",
    "GetObjectTagging": "Tagging",
    "ListBuckets": "ListAllMyBucketsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListObjectVersions": "ListVersionsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListParts": "ListPartsResult",
}
"""The root element of an output that is a document by itself."""

Write = Callable[[Any], Reply]


def output(name: str, /, **members: Any) -> Any:
    """The output of an operation. Structures inside may be given as dicts."""
    ref = OPERATIONS[name].output
    assert ref is not None, f"{name} has no output"
    return struct_of(ref.shape)(**members)


@cache
def writer(name: str) -> Write:
    """What makes an answer of an operation's output; None is the empty one."""
    operation = OPERATIONS[name]
    status = operation.http.response_code
    if operation.output is None:
        return lambda _: Reply(status)
    head, body = _head_writer(operation), _body_writer(operation)

    def write(value: Any) -> Reply:
        if value is None:
            value = {}
        text = None if body is None else body(value)
        if text is None:
            return Reply(status, head(value))
        if isinstance(text, bytes):
            return Reply(status, head(value), text)
        return xml_reply(text, status, head(value))

    return write


def _head_writer(operation: Operation) -> Callable[[Any], str]:
    steps: list[tuple[str, str, str]] = []
    prefixes: list[tuple[str, str]] = []
    for member, ref in operation.answered.members.items():
        if ref.location == "header":
            steps.append((member, ref.location_name, SHAPES[ref.shape].timestamp_format))
        elif ref.location == "headers":
            prefixes.append((member, ref.location_name))

    def head(value: Any) -> str:
        lines = ""
        for member, name, date_format in steps:
            found = member_of(value, member)
            if found is not None:
                lines += header_line(name, text_of(found, date_format or "rfc822"))
        for member, prefix in prefixes:
            for name, text in (member_of(value, member) or {}).items():
                lines += header_line(prefix + name, text)
        return lines

    return head


def _body_writer(operation: Operation) -> Callable[[Any], str | bytes | None] | None:
    """None when the operation's answer has no body."""
    shape = operation.answered
    assert operation.output is not None
    if operation.name == "GetBucketLocation":
        return _location
    if shape.payload:
        ref = shape.members[shape.payload]
        if SHAPES[ref.shape].type != "structure":
            return lambda value: _raw(member_of(value, shape.payload))
        root, name = ref.location_name or shape.payload, ref.shape

        def payload(value: Any) -> str:
            return document(root, name, member_of(value, shape.payload) or {})

        return payload
    if all(ref.location for ref in shape.members.values()):
        return None
    root, name = ROOTS.get(operation.name, operation.output.shape), operation.output.shape
    return lambda value: document(root, name, value)


def _location(value: Any) -> str:
    """Its root element holds the text itself."""
    text = member_of(value, "LocationConstraint")
    if not text:
        return f"<LocationConstraint {XMLNS}/>"
    return f"<LocationConstraint {XMLNS}>{escape(text)}</LocationConstraint>"


def _raw(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
