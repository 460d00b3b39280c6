"""Every way to ask for the bytes of an object that other datacenters hold."""

import pytest
from gateway_kit import House
from msgspec.structs import replace
from test_website import ERROR, INDEX, code_of, open_site, put, visit

from dc.placement import REPLICATION, elsewhere

NOWHERE = '{"Role": "", "Rules": []}'


async def held_elsewhere(house: House, key: str, like: str) -> None:
    """Make known an object as another one is, without its bytes."""
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    version = await house.names.current(bucket.id, like)
    assert version is not None
    stamp = house.names.clock.now()
    away = replace(version, key=key, stamp=stamp, extents=elsewhere(version.size))
    await house.names.apply([away])
    await house.names.set_bucket_registers(bucket.id, {REPLICATION: NOWHERE})


@pytest.mark.parametrize("size", [5, 3_000_000])
async def test_who_asks_for_bytes_is_told_that_they_are_elsewhere(house: House, size: int) -> None:
    await house.bucket()
    await put(house, "like", b"x" * size)
    await held_elsewhere(house, "away", "like")
    source = {"x-amz-copy-source": "/photos/away"}
    begun = await house.ask("POST", "/photos/up?uploads")
    upload = begun.body.decode().split("<UploadId>")[1].split("<")[0]
    for method, path, headers in (
        ("GET", "/photos/away", {}),
        ("GET", "/photos/away", {"Range": "bytes=1-2"}),
        ("GET", "/photos/away?partNumber=1", {}),
        ("GET", "/photos/away?response-content-type=text/plain", {}),
        ("PUT", "/photos/copy", source),
        ("PUT", "/photos/away", {**source, "x-amz-metadata-directive": "REPLACE"}),
        ("PUT", f"/photos/up?partNumber=1&uploadId={upload}", source),
    ):
        answer = await house.ask(method, path, headers=headers)
        assert answer.status == 403, (method, path)
        assert b"<Code>InvalidObjectState</Code>" in answer.body
    for method, path, headers in (
        ("HEAD", "/photos/away", {}),
        ("HEAD", "/photos/away", {"Range": "bytes=1-2"}),
        ("GET", "/photos/away?attributes", {"x-amz-object-attributes": "ObjectSize,ETag"}),
        ("GET", "/photos/away?tagging", {}),
        ("GET", "/photos/away?acl", {}),
        ("PUT", "/photos/away", {}),
    ):
        answer = await house.ask(method, path, headers=headers)
        assert answer.status in (200, 206), (method, path)


async def test_a_page_whose_bytes_are_elsewhere_is_an_error_in_html(house: House) -> None:
    await open_site(house, INDEX)
    await put(house, "like")
    await held_elsewhere(house, "page.html", "like")
    answer = await visit(house, "/page.html")
    assert answer.status == 403 and code_of(answer) == "InvalidObjectState"
    assert (await visit(house, "/page.html", "HEAD")).status == 200
    await open_site(house, INDEX | ERROR)
    await put(house, "error.html", b"sorry")
    answer = await visit(house, "/page.html")
    assert (answer.status, answer.body) == (403, b"sorry")
    # And where the bytes of the error document are elsewhere, too.
    await house.ask("DELETE", "/photos/error.html")
    await held_elsewhere(house, "error.html", "like")
    answer = await visit(house, "/page.html")
    assert answer.status == 403 and code_of(answer) == "InvalidObjectState"
