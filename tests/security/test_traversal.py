"""A key is text, at every entrance: no `..`, no `%2F`, no `//` in it leads anywhere else.

Published as SeaweedFS CVE-2026-54917 (URL), CVE-2026-55874 (copy source), CVE-2026-58372
(DeleteObjects); MinIO CVE-2022-35919, CVE-2026-42600; s3-proxy CVE-2026-42882 (`%2F`).
"""

import hashlib
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from gateway_kit import House

KEYS = [
    *("..", ".", "../bobs/secret", "a/../../bobs/secret", "/bobs/secret", "//bobs/secret"),
    *("../../../../../../etc/passwd", "/etc/passwd", "..\\..\\secret", "%2e%2e%2fbobs%2fsecret"),
    *("..%2F..%2Fbobs%2Fsecret", "%252e%252e%252fbobs", "names/names.db", "a/./b", "a//b"),
]


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


async def test_url(house: House, tmp_path: Path) -> None:
    await house.ask("PUT", "/bobs/secret", b"of bob", user="bob")
    before = files(tmp_path)
    wanted = sorted({unquote(key) for key in KEYS})
    for key in KEYS:
        put = await house.ask("PUT", f"/photos/{key}", unquote(key).encode())
        assert put.status == 200, key
    for key in KEYS:
        assert (await house.ask("GET", f"/photos/{key}")).body == unquote(key).encode()
    assert await house.keys() == wanted
    assert await house.keys("bobs") == ["secret"]
    assert {name.partition("/")[0] for name in files(tmp_path) - before} <= {"containers"}


@pytest.mark.parametrize("query", ["", "?partNumber=1&uploadId="])
async def test_copy_source(house: House, query: str) -> None:
    """The source is authorised by itself, and named by what it says."""
    await house.ask("PUT", "/bobs/secret", b"of bob", user="bob")
    target = "/photos/copy"
    if query:
        begun = await house.ask("POST", f"{target}?uploads")
        target += query + begun.texts("UploadId")[0]
    sources = [f"photos/{key}" for key in KEYS] + [f"{key}/secret" for key in KEYS]
    for source in [*sources, "bobs/secret", "/bobs/secret", "bobs%2Fsecret", "%62obs/secret"]:
        answer = await house.ask("PUT", target, headers={"x-amz-copy-source": source})
        assert answer.status in (400, 403, 404), source
    assert await house.keys() == []


async def test_delete_objects(house: House) -> None:
    await house.ask("PUT", "/bobs/secret", b"of bob", user="bob")
    for key in ("kept", "../bobs/secret"):
        await house.ask("PUT", f"/photos/{quote(key)}", b"of ann")
    keys = "".join(f"<Object><Key>{key}</Key></Object>" for key in KEYS)
    body = f"<Delete>{keys}</Delete>".encode()
    md5 = b64encode(hashlib.md5(body).digest()).decode()
    answer = await house.ask("POST", "/photos?delete", body, {"Content-MD5": md5})
    assert (answer.status, answer.texts("Key")) == (200, KEYS)
    assert await house.keys() == ["kept"]
    assert await house.keys("bobs") == ["secret"]
    answer = await house.ask("POST", "/bobs?delete", body, {"Content-MD5": md5})
    assert answer.texts("Code") == ["AccessDenied"] * len(KEYS)
    assert await house.keys("bobs") == ["secret"]


async def test_an_upload_is_of_its_key_and_bucket(house: House) -> None:
    begun = await house.ask("POST", "/bobs/big?uploads", user="bob")
    upload = begun.texts("UploadId")[0]
    for target in ("/photos/big", "/photos/../bobs/big", "/photos/..%2Fbobs%2Fbig"):
        for method in ("PUT", "GET", "DELETE"):
            answer = await house.ask(method, f"{target}?partNumber=1&uploadId={upload}")
            assert (answer.status, answer.code) == (404, "NoSuchUpload"), (method, target)
    assert (await house.ask("GET", f"/bobs/big?uploadId={upload}", user="bob")).status == 200
