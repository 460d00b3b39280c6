"""Which x-amz-* headers a request may have.

Deny by default: what may ask for something that matters (encryption, a lock, a grant) and would be
ignored is refused with NotImplemented instead. A header is accepted if it is `COMMON`, or if the
model says that the operation takes it *and* it stands in `HONOURED` here. One that stands in
`TOLERATED` is accepted with the values there, because then things are so anyway.
"""

from functools import cache
from typing import NamedTuple

from multidict import MultiMapping

from gateway.errors import S3Error
from gateway.model.shapes import OPERATIONS

_PLAIN_NAMES = (
    *("host", "content-length", "content-type", "user-agent", "accept", "accept-encoding"),
    *("authorization", "x-amz-date", "x-amz-content-sha256", "connection", "date"),
    *("amz-sdk-invocation-id", "amz-sdk-request", "expect"),
)
_PLAIN = frozenset(
    (*_PLAIN_NAMES, *(name.title() for name in _PLAIN_NAMES), "X-Amz-Content-SHA256")
)
"""Also as most clients write them, which saves making them lower-case."""
COMMON = frozenset(
    f"x-amz-{name}"
    for name in (
        *("date", "content-sha256", "security-token", "user-agent"),
        *("decoded-content-length", "trailer", "sdk-checksum-algorithm"),
        *("expected-bucket-owner", "request-payer"),
    )
)
"""Any operation may have them."""

COMMON_PREFIXES = ("x-amz-meta-", "x-amz-checksum-")

HONOURED = frozenset(
    f"x-amz-{name}"
    for name in (
        *("copy-source", "copy-source-range"),
        *("copy-source-if-match", "copy-source-if-none-match"),
        *("copy-source-if-modified-since", "copy-source-if-unmodified-since"),
        *("source-expected-bucket-owner", "metadata-directive", "website-redirect-location"),
        *("if-match-last-modified-time", "if-match-size"),
        *("mp-object-size", "optional-object-attributes"),
        *("object-attributes", "max-parts", "part-number-marker"),
        "server-side-encryption",
        *(f"server-side-encryption-customer-{what}" for what in ("algorithm", "key", "key-md5")),
        *(
            f"copy-source-server-side-encryption-customer-{what}"
            for what in ("algorithm", "key", "key-md5")
        ),
        *("object-lock-mode", "object-lock-retain-until-date", "object-lock-legal-hold"),
        *("bypass-governance-retention", "storage-class"),
        *("tagging", "tagging-directive", "skip-destination-validation"),
        *("object-ownership", "bucket-object-lock-enabled"),
        *("acl", "grant-full-control", "grant-read", "grant-read-acp", "grant-write-acp"),
        *("grant-write", "confirm-remove-self-bucket-access"),
    )
)
"""Headers that are followed by all the operations that the model gives them to."""


class Tolerated(NamedTuple):
    """A header that is not followed: the values with which it may be there, the error else."""

    values: tuple[str, ...]
    code: str = "NotImplemented"


TOLERATED: dict[str, Tolerated] = {
    "x-amz-server-side-encryption-bucket-key-enabled": Tolerated(("false",)),
}


_GRANT_READ = "x-amz-grant-read"
_GRANT_WRITE = "x-amz-grant-write"
_OF_WRITES = "x-amz-server-side-encryption"
"""Clients that send it with reads are told that it does not belong there."""

NO_KMS = "there is no key management service"
WHY_REFUSED = {
    "x-amz-bucket-namespace": "names of buckets are one space",
    "x-amz-bucket-object-lock-token": "no support desk gives tokens",
    "x-amz-if-match-initiated-time": "of directory buckets",
    "x-amz-mfa": "there is no MFA",
    "x-amz-object-annotation-directive": "objects have no annotations",
    "x-amz-object-lock-event-hold": "there is no hold by events",
    "x-amz-object-lock-event-hold-duration-days": "there is no hold by events",
    "x-amz-object-lock-event-hold-duration-years": "there is no hold by events",
    "x-amz-server-side-encryption-aws-kms-key-id": NO_KMS,
    "x-amz-server-side-encryption-bucket-key-enabled": NO_KMS,
    "x-amz-server-side-encryption-context": NO_KMS,
    "x-amz-transition-default-minimum-object-size": "there are no transitions",
    "x-amz-write-offset-bytes": "of directory buckets",
}
"""Headers that will not be followed; of the others it is said that they are not implemented."""


@cache
def honoured(operation: str) -> frozenset[str]:
    """The headers that an operation takes and this gateway follows, besides the common ones."""
    members = OPERATIONS[operation].asked.members.values()
    found = HONOURED & {ref.location_name.lower() for ref in members if ref.location == "header"}
    # The model leaves it out for objects, where it grants nothing; S3 takes it there too.
    return found | {_GRANT_WRITE} if _GRANT_READ in found else found


def are_plain(headers: MultiMapping[str]) -> bool:
    """True when all headers are of those that nearly every request has and that say nothing about
    an object: then operations need not look for what else might be there."""
    return _PLAIN.issuperset(headers) or all(name.lower() in _PLAIN for name in headers)


def check_headers(headers: MultiMapping[str], operation: str) -> None:
    """Refuse the x-amz-* headers that are not known, or cannot be followed in this operation."""
    for name in headers:
        lower = name.lower()
        if not lower.startswith("x-amz-") or lower in COMMON or lower in honoured(operation):
            continue
        if lower.startswith(COMMON_PREFIXES):
            continue
        tolerated = TOLERATED.get(lower)
        if tolerated is None or any(text not in tolerated.values for text in headers.getall(name)):
            raise refusal(name)


def refusal(name: str) -> S3Error:
    """What a header gets that cannot be followed."""
    if name.lower() == _OF_WRITES:
        message = f"{_OF_WRITES} header is not supported for this operation."
        return S3Error("InvalidArgument", message, extra={"ArgumentName": _OF_WRITES})
    tolerated = TOLERATED.get(name.lower())
    if tolerated is not None and tolerated.code != "NotImplemented":
        return S3Error(tolerated.code)
    message = "A header you provided implies functionality that is not implemented"
    return S3Error("NotImplemented", message, extra={"Header": name})
