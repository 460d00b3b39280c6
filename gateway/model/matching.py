"""Which operation of S3 a request asks for: by method, by what it is about, by subresource.

A *subresource* is a parameter that makes another operation of a request: `?acl`, `?uploads`,
`?uploadId=`. They are those that stand in the model's paths, and those required parameters by
which operations of one path differ. One that fits no operation is refused: to ignore it would mean,
for instance, to overwrite an object with what was to be its tags. Other parameters that S3 does
not know are ignored, as S3 does.

Where several operations have the same method, kind and subresource, the one that demands most of
what is there is meant: a PUT with a copy source is a copy, `?inventory&id=` is one of `?inventory`.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from multidict import MultiMapping

from gateway.errors import S3Error
from gateway.model.shapes import OPERATIONS, Operation

COPY_SOURCE = "x-amz-copy-source"
ROOT, BUCKET, OBJECT = "ROOT", "BUCKET", "OBJECT"
_KINDS = {"/": ROOT, "/{Bucket}": BUCKET, "/{Bucket}/{Key+}": OBJECT}
_TELLING_REQUIRED = frozenset(("uploadId",))
_REFUSED = frozenset(("append",))
"""Of other dialects, whose clients would not mean what S3 does without it."""
_IGNORED = frozenset(("select-type",))
"""Stand in a path and choose nothing."""


class _Candidate(NamedTuple):
    name: str
    parameters: frozenset[str]
    copies: bool


_Key = tuple[str, str, str]
"""Kind, method, subresource."""


def _required(operation: Operation, location: str) -> set[str]:
    members = operation.asked.members
    refs = (members[name] for name in operation.asked.required)
    return {ref.location_name for ref in refs if ref.location == location}


def _candidates() -> tuple[dict[_Key, list[_Candidate]], frozenset[str]]:
    table: dict[_Key, list[_Candidate]] = {}
    names: set[str] = set(_REFUSED)
    for operation in OPERATIONS.values():
        path, _, query = operation.http.request_uri.partition("?")
        fixed = {part.partition("=")[0] for part in query.split("&") if part} - _IGNORED
        required = _required(operation, "querystring")
        subresource = fixed | (required & _TELLING_REQUIRED)
        assert len(subresource) < 2
        names |= subresource
        copies = COPY_SOURCE in _required(operation, "header")
        key = _KINDS[path], operation.http.method, "".join(subresource)
        candidate = _Candidate(operation.name, frozenset(required), copies)
        table.setdefault(key, []).append(candidate)
    for found in table.values():
        found.sort(key=lambda one: (not one.copies, -len(one.parameters)))
    return table, frozenset(names)


_table, SUBRESOURCES = _candidates()


def find_name(kind: str, method: str, query: Collection[str], headers: MultiMapping[str]) -> str:
    """The name of the operation. InvalidRequest, MethodNotAllowed."""
    named = [name for name in query if name in SUBRESOURCES] if query else ()
    if len(named) > 1:
        raise S3Error("InvalidRequest", f"{named[0]} and {named[1]} cannot be asked together.")
    subresource = named[0] if named else ""
    found = _table.get((kind, method, subresource))
    if found is None:
        raise not_allowed(kind, method, subresource)
    for candidate in found:
        if candidate.parameters.issubset(query) and (
            not candidate.copies or COPY_SOURCE in headers
        ):
            return candidate.name
    return found[-1].name


def not_allowed(kind: str, method: str, subresource: str = "") -> S3Error:
    """There is no such operation of this kind of resource, or only with other methods."""
    if subresource in _REFUSED:
        return S3Error("NotImplemented", extra={"ResourceType": subresource.upper()})
    extra = {"Method": method, "ResourceType": subresource.upper() or kind}
    return S3Error("MethodNotAllowed", extra=extra)


def subresource_of(operation: str) -> str:
    """By which parameter an operation is asked for, "" for none."""
    return _BY_NAME[operation]


_BY_NAME: Mapping[str, str] = {
    candidate.name: key[2] for key, found in _table.items() for candidate in found
}
