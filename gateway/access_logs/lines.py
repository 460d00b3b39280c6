"""One request as a line of S3's server access log.

What clients send stands percent-encoded in a line, as far as it could end a field or the line: no
request can write another one's line. A field that is not known is `-`.

Source: "Amazon S3 server access log format" in the S3 User Guide.
"""

from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import quote

from dc.names.model import Bucket
from gateway.dates import http_date
from gateway.errors import ERRORS
from gateway.reply import Reply
from gateway.request import Request
from gateway.sigv4 import AuthKind

_SIGNATURES = {
    AuthKind.HEADER: ("SigV4", "AuthHeader"),
    AuthKind.PRESIGNED: ("SigV4", "QueryString"),
    AuthKind.FORM: ("SigV4", "-"),
    AuthKind.HEADER_V2: ("SigV2", "AuthHeader"),
    AuthKind.PRESIGNED_V2: ("SigV2", "QueryString"),
    AuthKind.FORM_V2: ("SigV2", "-"),
}
_RESOURCES = {
    "acl": "ACL",
    "accelerate": "ACCELERATE",
    "attributes": "OBJECT_ATTRIBUTES",
    "cors": "CORS",
    "encryption": "ENCRYPTION",
    "legal-hold": "OBJECT_LOCK_LEGALHOLD",
    "lifecycle": "LIFECYCLE",
    "location": "LOCATION",
    "logging": "LOGGING_STATUS",
    "notification": "NOTIFICATION",
    "object-lock": "OBJECT_LOCK_CONFIGURATION",
    "ownershipControls": "OWNERSHIP_CONTROLS",
    "policy": "BUCKETPOLICY",
    "policyStatus": "BUCKETPOLICY_STATUS",
    "publicAccessBlock": "PUBLIC_ACCESS_BLOCK",
    "replication": "REPLICATION",
    "requestPayment": "REQUEST_PAYMENT",
    "retention": "OBJECT_LOCK_RETENTION",
    "uploads": "UPLOADS",
    "versioning": "VERSIONING",
    "versions": "BUCKETVERSIONS",
    "website": "WEBSITE",
}
_SAFE = "!#$%&'()*+,-./:;<=>?@[]^_`{|}~"
"""Printable ASCII but for the space, the quotation mark and the backslash."""
_KEY_SAFE = "/-_.~*"
_FIELD_CHARS_MAX = 2048
"""Of what a client may make as long as it likes."""


class Times(NamedTuple):
    """When a request came and how long it took, in milliseconds."""

    began_ms: int
    took_ms: int


def log_line(
    bucket: Bucket, request: Request, reply: Reply | None, code: str, times: Times, host_id: str
) -> str:
    """The line of an answered request, without its end."""
    target, headers = request.target, request.headers
    path = f"{request.raw_path}?{request.raw_query}" if request.raw_query else request.raw_path
    status, sent, size = _sizes(request, reply)
    version_id = target.query.get("versionId") or _sent_header(reply, "x-amz-version-id")
    return " ".join(
        (
            bucket.owner,
            bucket.name,
            f"[{_time(times.began_ms // 1000)}]",
            request.peer_address or "-",
            getattr(request, "user", "") or "-",
            request.id,
            operation(request),
            _field(quote(target.key, safe=_KEY_SAFE)),
            f'"{_text(f"{request.method} {path}")} HTTP/1.{0 if request.http10 else 1}"',
            status,
            code or "-",
            sent,
            size,
            str(times.took_ms),
            "-",
            f'"{_text(headers.get("Referer", ""))}"',
            f'"{_text(headers.get("User-Agent", ""))}"',
            _field(version_id),
            _field(host_id),
            *_signature(request),
            _field(headers.get("Host", "")),
            "-",
            "-",
            "Yes" if request.acl_required else "-",
        )
    )


def batch_lines(bucket: Bucket, request: Request, began_ms: int, host_id: str) -> list[str]:
    """A line for each object that a DeleteObjects named: its own line names none."""
    return [
        " ".join(
            (
                bucket.owner,
                bucket.name,
                f"[{_time(began_ms // 1000)}]",
                request.peer_address or "-",
                request.user or "-",
                request.id,
                "BATCH.DELETE.OBJECT",
                _field(quote(one.key, safe=_KEY_SAFE)),
                "-",
                str(ERRORS[one.code][0]) if one.code else "204",
                one.code or "-",
                *("-", "-", "-", "-", "-", "-"),
                _field(one.version_id),
                _field(host_id),
                *_signature(request),
                _field(request.headers.get("Host", "")),
                *("-", "-", "-"),
            )
        )
        for one in request.batch
    ]


def operation(request: Request) -> str:
    """REST.method.resource."""
    query, method = request.target.query, request.method
    if not request.target.key:
        return f"REST.{method}.{_of_bucket(request)}"
    copies = method == "PUT" and "x-amz-copy-source" in request.headers
    if "uploadId" in query:
        if method == "PUT":
            return "REST.COPY.PART" if copies else "REST.PUT.PART"
        return f"REST.{method}.UPLOAD"
    if "tagging" in query:
        return f"REST.{method}.OBJECT_TAGGING"
    for name in query:
        if name in _RESOURCES:
            return f"REST.{method}.{_RESOURCES[name]}"
    return "REST.COPY.OBJECT" if copies else f"REST.{method}.OBJECT"


def _of_bucket(request: Request) -> str:
    query = request.target.query
    if "delete" in query:
        return "MULTI_OBJECT_DELETE"
    if "tagging" in query:
        return "TAGGING"
    return next((_RESOURCES[name] for name in query if name in _RESOURCES), "BUCKET")


def _signature(request: Request) -> tuple[str, str, str]:
    """Signature version, cipher suite, and where the signature stood."""
    auth = getattr(request, "auth", None)
    version, kind = ("-", "-") if auth is None else _SIGNATURES.get(auth.kind, ("-", "-"))
    return version, "-", kind


def _sizes(request: Request, reply: Reply | None) -> tuple[str, str, str]:
    """Status, bytes sent, and size of the object that it is about."""
    if reply is None:
        return "-", "-", "-"
    length = len(reply.body) if reply.length is None else reply.length
    sent = "-" if request.method == "HEAD" or not length else str(length)
    size = "-"
    if request.target.key and reply.status in (200, 206):
        if request.method in ("GET", "HEAD"):
            size = _sent_header(reply, "Content-Range").rpartition("/")[2] or str(length)
        elif request.method == "PUT":
            given = request.headers.get("x-amz-decoded-content-length")
            size = given or request.headers.get("Content-Length", "-")
    return str(reply.status), sent, _field(size)


def _sent_header(reply: Reply | None, name: str) -> str:
    if reply is None or f"{name}: " not in reply.head:
        return ""
    return reply.head.partition(f"{name}: ")[2].partition("\r\n")[0]


def _text(text: str) -> str:
    """A field between quotation marks."""
    return quote(text[:_FIELD_CHARS_MAX], safe=f" {_SAFE}", errors="replace") or "-"


def _field(text: str) -> str:
    """A field that ends at the next space."""
    return quote(text[:_FIELD_CHARS_MAX], safe=_SAFE, errors="replace") or "-"


def _time(seconds: int) -> str:
    """06/Feb/2019:00:00:38 +0000"""
    when = parsedate_to_datetime(http_date(seconds))
    return f"{when:%d}/{http_date(seconds)[8:11]}/{when:%Y:%H:%M:%S} +0000"
