"""Writes operations.md, the page of every operation and header of S3, from the model and from the
tables of the gateway. `make docs` runs it; a test fails when the page is not what it gives."""

from collections.abc import Iterator
from pathlib import Path

from gateway.checksums import ALGORITHMS
from gateway.headers import (
    COMMON,
    COMMON_PREFIXES,
    HONOURED,
    TOLERATED,
    WHY_REFUSED,
    refusal,
)
from gateway.model.shapes import OPERATIONS as MODEL
from gateway.model.shapes import Operation
from gateway.operations import OPERATIONS, WHY_NOT, Row, why_not

PAGE = Path(__file__).parent / "operations.md"

HEAD = """# The operations of S3

This page is written by `make docs` from Amazon's model of S3 and the gateway's tables
(`gateway/operations.py`, `gateway/headers.py`); a test fails when it is not up to date.

{supported} of the {all} operations of the model are supported. An operation that is not gets 501
`NotImplemented`, a method or subresource that S3 does not have either gets 405 `MethodNotAllowed`.
"""

SUPPORTED = """
## Supported

*Action* is what policies name it; *ACL* the permission that gives it to others than the owner:
`WRITE` is always of the bucket, the others are of what the operation is about.

| operation | asked by | action | ACL |
|---|---|---|---|
"""

HEADERS = """
## Headers and parameters

Any request may have {common}, and `x-amz-meta-*` where an object is written.

Of the checksums those of {algorithms} are computed and compared; others get 400 `InvalidRequest`.

Each operation takes the headers and parameters below. Any other `x-amz-*` header is refused with
501 `NotImplemented`; any other parameter is ignored.

| operation | headers | parameters | refused |
|---|---|---|---|
"""

REFUSED = """
## Refused headers

What may stand there nevertheless is what is so anyway.

| header | may be | else | why |
|---|---|---|---|
"""

NOT_SUPPORTED = """
## Not supported

| operation | asked by | why |
|---|---|---|
"""


def asked_by(operation: Operation) -> str:
    """PUT /{Bucket}?acl, with the parameters that are required."""
    required = [operation.asked.members[name] for name in operation.asked.required]
    names = [f"{ref.location_name}=" for ref in required if ref.location == "querystring"]
    uri = operation.http.request_uri.replace("{Key+}", "{Key}")
    mark = "&" if "?" in uri else "?"
    return f"`{operation.http.method} {uri}{mark if names else ''}{'&'.join(names)}`"


def headers_of(operation: Operation) -> tuple[list[str], list[str]]:
    """The headers that are followed, and those that are refused."""
    followed, refused = [], []
    for ref in operation.asked.members.values():
        name = ref.location_name.lower()
        if ref.location != "header" or name in ("content-md5", *COMMON):
            continue
        if name.startswith(COMMON_PREFIXES):
            continue
        known = not name.startswith("x-amz-") or name in HONOURED
        (followed if known else refused).append(name)
    return sorted(followed), sorted(refused)


def parameters_of(operation: Operation) -> list[str]:
    members = operation.asked.members.values()
    return sorted(ref.location_name for ref in members if ref.location == "querystring")


def ticks(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def supported() -> Iterator[str]:
    for row in sorted(OPERATIONS.values(), key=lambda row: row.name):
        if row.name not in MODEL:
            continue
        yield f"| {row.name} | {asked_by(MODEL[row.name])} | {actions(row)} | {row.permission} |\n"


def actions(row: Row) -> str:
    found = [f"s3:{row.action}"]
    if row.versioned:
        found.append(f"s3:{row.version_action}")
    return ticks(found)


def headers() -> Iterator[str]:
    for name in sorted(OPERATIONS):
        if name not in MODEL:
            continue
        followed, refused = headers_of(MODEL[name])
        parameters = parameters_of(MODEL[name])
        if followed or refused or parameters:
            yield f"| {name} | {ticks(followed)} | {ticks(parameters)} | {ticks(refused)} |\n"


def refused_headers() -> Iterator[str]:
    names = {name for one in OPERATIONS if one in MODEL for name in headers_of(MODEL[one])[1]}
    for name in sorted(names):
        may = TOLERATED[name].values if name in TOLERATED else ()
        error = refusal(name)
        why = WHY_REFUSED.get(name, "not implemented")
        yield f"| `{name}` | {ticks(list(may))} | {error.status} `{error.code}` | {why} |\n"


def not_supported() -> Iterator[str]:
    for name in sorted(set(MODEL) - set(OPERATIONS)):
        yield f"| {name} | {asked_by(MODEL[name])} | {why_not(name) or 'not implemented'} |\n"


def page() -> str:
    """The text of operations.md."""
    unused = [part for part in WHY_NOT if not any(part in name for name in MODEL)]
    assert not unused, f"no operation is like {unused}"
    common = ["content-md5", *sorted(COMMON), *(f"{prefix}*" for prefix in COMMON_PREFIXES[1:])]
    count = len(set(MODEL) & set(OPERATIONS))
    return "".join(
        (
            HEAD.format(supported=count, all=len(MODEL)),
            SUPPORTED,
            *supported(),
            HEADERS.format(common=ticks(common), algorithms=", ".join(ALGORITHMS)),
            *headers(),
            REFUSED,
            *refused_headers(),
            NOT_SUPPORTED,
            *not_supported(),
        )
    )


if __name__ == "__main__":
    PAGE.write_text(page())
