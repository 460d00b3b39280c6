"""The table of operations: every request of the model finds its own, and what is not there is
refused; the page that tells of it is up to date."""

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gateway_kit import House
from multidict import CIMultiDict

from gateway.errors import S3Error
from gateway.headers import COMMON, HONOURED, TOLERATED, WHY_REFUSED
from gateway.model.matching import BUCKET, OBJECT, ROOT
from gateway.model.shapes import OPERATIONS as MODEL
from gateway.operations import OPERATIONS, ROWS, find_row, why_not
from gateway.target import Target

DOCS = Path(__file__).parent.parent.parent / "docs"
KINDS = {"/": ROOT, "/{Bucket}": BUCKET, "/{Bucket}/{Key+}": OBJECT}


def request_for(name: str) -> Any:
    """The least that a request for an operation of the model holds."""
    operation = MODEL[name]
    path, _, fixed = operation.http.request_uri.partition("?")
    query = {part.partition("=")[0]: part.partition("=")[2] for part in fixed.split("&") if part}
    headers: CIMultiDict[str] = CIMultiDict()
    for member in operation.asked.required:
        ref = operation.asked.members[member]
        if ref.location == "querystring":
            query[ref.location_name] = "1"
        elif ref.location == "header":
            headers[ref.location_name] = "1"
    target = Target("photos" if "Bucket" in path else "", "k" if "Key" in path else "", query)
    return SimpleNamespace(method=operation.http.method, target=target, headers=headers)


@pytest.mark.parametrize("name", MODEL)
def test_every_operation_of_the_model_is_found_or_refused(name: str) -> None:
    if name in OPERATIONS:
        assert find_row(request_for(name)).name == name
        return
    with pytest.raises(S3Error) as refused:
        find_row(request_for(name))
    assert (refused.value.code, refused.value.status) == ("NotImplemented", 501)
    assert f"{name} is not implemented" in refused.value.message
    assert why_not(name) in refused.value.message


def test_the_rows_are_of_the_model_and_each_of_one_name() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert row.name in MODEL
        path = MODEL[row.name].http.request_uri.partition("?")[0]
        assert row.scope == KINDS[path] or row.name == "DeleteObjects"
        assert row.permission in ("", "READ", "WRITE", "READ_ACP", "WRITE_ACP")
        assert row.action
        assert ":" not in row.action
        assert row.versioned is (row.version_action != row.action)


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("POST", "/", 405, "MethodNotAllowed"),
        ("DELETE", "/", 405, "MethodNotAllowed"),
        ("PATCH", "/photos", 405, "MethodNotAllowed"),
        ("POST", "/photos/k", 405, "MethodNotAllowed"),
        ("PUT", "/photos?versions", 405, "MethodNotAllowed"),
        ("GET", "/photos?delete", 405, "MethodNotAllowed"),
        ("PUT", "/photos/k?versioning", 405, "MethodNotAllowed"),
        ("PUT", "/photos/k?append&position=0", 501, "NotImplemented"),
        ("GET", "/photos/k?torrent", 501, "NotImplemented"),
        ("POST", "/photos/k?restore", 501, "NotImplemented"),
        ("POST", "/photos/k?select&select-type=2", 501, "NotImplemented"),
        ("GET", "/photos?acl&policy", 400, "InvalidRequest"),
        ("PUT", "/photos/k?uploads&uploadId=x", 400, "InvalidRequest"),
    ],
)
async def test_what_is_no_operation_is_refused(
    house: House, method: str, target: str, status: int, code: str
) -> None:
    await house.bucket()
    await house.ask("PUT", "/photos/k", b"kept")
    answer = await house.ask(method, target, b"" if method == "GET" else b"x")
    assert (answer.status, answer.code) == (status, code)
    assert (await house.ask("GET", "/photos/k")).body == b"kept"


def test_a_header_is_of_one_kind() -> None:
    followed = COMMON | HONOURED
    assert not followed & (set(TOLERATED) | set(WHY_REFUSED))
    known = {
        ref.location_name.lower()
        for operation in MODEL.values()
        for ref in operation.asked.members.values()
        if ref.location == "header"
    }
    assert (HONOURED | set(TOLERATED) | set(WHY_REFUSED)) <= known


async def test_a_header_of_another_operation_is_refused(house: House) -> None:
    await house.bucket()
    lock = {"x-amz-bucket-object-lock-enabled": "true"}
    assert (await house.ask("PUT", "/photos/k", b"x", lock)).code == "NotImplemented"
    assert (await house.ask("PUT", "/music", headers=lock)).status == 200
    assert await house.keys() == []


def test_the_page_of_operations_is_up_to_date() -> None:
    written = (DOCS / "operations.md").read_text()
    page = runpy.run_path(str(DOCS / "write_operations.py"))["page"]
    assert written == page(), "run `make docs`"
