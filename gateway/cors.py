"""Cross-origin requests: what a bucket's CORS rules make of a browser's preflight, and which header
lines its other answers get.

The source of the rules is "Using cross-origin resource sharing" in the Amazon S3 User Guide: the
first rule counts that allows the origin, the method, and each header that is asked for. A `*` in a
pattern, of which there is one at most, stands for any characters.

CORS authorises nothing, it only tells browsers what a page may see: a preflight is answered without
a signature, and other requests are authenticated and authorised as ever. Header lines are made for
requests with an Origin only, and go to errors too: a page shall be able to read why it was refused.

Otherwise than S3, `Access-Control-Allow-Credentials` is sent only where the origin stands in the
rule as it is: with wildcards in it, it would open the bucket to whoever gets a domain that fits.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from dc.names.api import Directory
from dc.names.model import Bucket
from gateway.buckets import check_bucket_name
from gateway.errors import S3Error
from gateway.reply import Reply, header_line
from gateway.request import Request
from gateway.settings import setting

_HEADERS_ASKED_MAX = 100
_METHODS = frozenset(("GET", "PUT", "POST", "DELETE", "HEAD"))
_VARY = "Vary: Origin, Access-Control-Request-Headers, Access-Control-Request-Method\r\n"
_NOT_ALLOWED = (
    "CORSResponse: This CORS request is not allowed. This is usually because the evaluation of "
    "Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are "
    "not whitelisted by the resource's CORS spec."
)


class Allowed(NamedTuple):
    """The rule that allows a request, and the pattern in it that its origin fits."""

    rule: Any
    origin: str
    pattern: str
    headers: list[str]

    def lines(self) -> str:
        everyone = self.pattern == "*"
        rule = self.rule
        text = header_line("Access-Control-Allow-Origin", "*" if everyone else self.origin)
        text += header_line("Access-Control-Allow-Methods", ", ".join(rule.AllowedMethods))
        if self.headers:
            text += header_line("Access-Control-Allow-Headers", ", ".join(self.headers))
        if rule.ExposeHeaders:
            text += header_line("Access-Control-Expose-Headers", ", ".join(rule.ExposeHeaders))
        if rule.MaxAgeSeconds is not None:
            text += header_line("Access-Control-Max-Age", str(rule.MaxAgeSeconds))
        if "*" not in self.pattern:
            text += "Access-Control-Allow-Credentials: true\r\n"
        return text + _VARY


def preflight(directory: Directory, request: Request) -> Reply:
    """The answer to OPTIONS, of anyone."""
    headers, name = request.headers, request.target.bucket
    if "Origin" not in headers:
        message = "Insufficient information. Origin request header needed."
        raise S3Error("BadRequest", message)
    method = headers.get("Access-Control-Request-Method", "null")
    if method not in _METHODS:
        raise S3Error("BadRequest", f"Invalid Access-Control-Request-Method: {method}")
    bucket = directory.bucket(name) if name else None
    if bucket is None:
        check_bucket_name(name)
        raise S3Error("NoSuchBucket", extra={"BucketName": name})
    kind = "OBJECT" if request.target.key else "BUCKET"
    if not _rules(bucket):
        message = "CORSResponse: CORS is not enabled for this bucket."
        raise S3Error("AccessForbidden", message, extra={"Method": method, "ResourceType": kind})
    allowed = _find(bucket, request, method)
    if allowed is None:
        raise S3Error(
            "AccessForbidden", _NOT_ALLOWED, extra={"Method": method, "ResourceType": kind}
        )
    return Reply(200, allowed.lines())


def cors_lines(directory: Directory, request: Request) -> str:
    """What the answer to a request with an Origin says to its browser."""
    bucket = directory.bucket(request.target.bucket) if request.target.bucket else None
    if bucket is None or not _rules(bucket):
        return ""
    method = request.headers.get("Access-Control-Request-Method", request.method)
    allowed = _find(bucket, request, method)
    return _VARY if allowed is None else allowed.lines()


def _rules(bucket: Bucket) -> Sequence[Any]:
    """None where they cannot be read."""
    try:
        found = setting(bucket, "cors")
    except S3Error:
        return ()
    return () if found is None else found.CORSRules


def _find(bucket: Bucket, request: Request, method: str) -> Allowed | None:
    origin = request.headers["Origin"]
    text = request.headers.get("Access-Control-Request-Headers", "")
    asked = [name.strip().lower() for name in text.split(",") if name.strip()]
    if len(asked) > _HEADERS_ASKED_MAX:
        return None
    for rule in _rules(bucket):
        if method not in rule.AllowedMethods:
            continue
        patterns = [pattern.lower() for pattern in rule.AllowedHeaders or ()]
        if not all(any(_fits(name, pattern) for pattern in patterns) for name in asked):
            continue
        for pattern in rule.AllowedOrigins:
            if _fits(origin, pattern):
                return Allowed(rule, origin, pattern, asked)
    return None


def _fits(text: str, pattern: str) -> bool:
    """Whether a text is what a pattern with at most one `*` says."""
    start, star, end = pattern.partition("*")
    if not star:
        return text == pattern
    return len(text) >= len(start) + len(end) and text.startswith(start) and text.endswith(end)
