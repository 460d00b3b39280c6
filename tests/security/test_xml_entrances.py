"""No document of any operation has a DTD or entities, whatever its encoding: nothing is expanded,
nothing is fetched, no file is read.

Published as Swift CVE-2022-47950 (entities of a document gave files of the server away). The
operations are those of the model, so a new one is in the table by itself.
"""

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import md5
from pathlib import Path

import pytest
from form_kit import form, policy, post, signed_v4
from gateway_kit import House, open_house

from gateway.model.shapes import OPERATIONS, SHAPES
from gateway.operations import OPERATIONS as ROWS

SECRET = "root:x:0:0"
BOMB = "".join(
    f'<!ENTITY e{n} "{f"&e{n - 1};" * 20 if n else "ha" * 20}">' for n in range(20)
)  # fmt: skip
HEADS = {
    "a DTD": "<!DOCTYPE {root}>",
    "an entity": '<!DOCTYPE {root} [<!ENTITY e "kept">]>',
    "a bomb": f"<!DOCTYPE {{root}} [{BOMB}]>",
    "a file": '<!DOCTYPE {root} [<!ENTITY e19 SYSTEM "file:///etc/passwd">]>',
    "a fetched entity": '<!DOCTYPE {root} [<!ENTITY e19 SYSTEM "http://{host}/x">]>',
    "a fetched DTD": '<!DOCTYPE {root} SYSTEM "http://{host}/x">',
    "a public DTD": '<!DOCTYPE {root} PUBLIC "x" "http://{host}/x">',
    "a parameter": '<!DOCTYPE {root} [<!ENTITY % p SYSTEM "http://{host}/x"> %p;]>',
    "in lower case": '<!doctype {root} [<!ENTITY e19 "kept">]>',
    "after a comment": '<!-- a --><!DOCTYPE {root} [<!ENTITY e19 "kept">]>',
}
INSIDE = {
    "AccelerateConfiguration": "<Status>Suspended</Status>",
    "BucketLoggingStatus": "",
    "CORSConfiguration": "<CORSRule><AllowedMethod>GET</AllowedMethod>"
    "<AllowedOrigin>http://{e}</AllowedOrigin></CORSRule>",
    "CreateBucketConfiguration": "",
    "Delete": "<Object><Key>{e}</Key></Object>",
    "LegalHold": "<Status>ON</Status>",
    "NotificationConfiguration": "",
    "ObjectLockConfiguration": "<ObjectLockEnabled>Enabled</ObjectLockEnabled>",
    "OwnershipControls": "<Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>",
    "PublicAccessBlockConfiguration": "",
    "RequestPaymentConfiguration": "<Payer>BucketOwner</Payer>",
    "Retention": "",
    "Tagging": "<TagSet><Tag><Key>a</Key><Value>{e}</Value></Tag></TagSet>",
    "VersioningConfiguration": "<Status>Enabled</Status>",
    "WebsiteConfiguration": "<IndexDocument><Suffix>{e}</Suffix></IndexDocument>",
}
"""What makes documents good ones, but for what stands before it; `{e}` is any text."""
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp037"]


def entrances() -> list[tuple[str, str]]:
    """(operation, root element) of those whose body is a document."""
    found = []
    for name in ROWS:
        asked = OPERATIONS[name].asked
        if asked.payload:
            ref, shape = OPERATIONS[name].member(asked.payload)
            if shape.type == "structure":
                found.append((name, ref.location_name or ref.shape))
    return found


def target(name: str, upload: str) -> tuple[str, str]:
    """Method and target of a request for the operation."""
    operation = OPERATIONS[name]
    path, _, query = operation.http.request_uri.partition("?")
    bucket = "new-bucket" if name == "CreateBucket" else "photos"
    path = path.replace("{Bucket}", bucket).replace("{Key+}", "kept")
    parameters = [query] if query else []
    for member in operation.asked.required:
        ref = operation.asked.members[member]
        if ref.location == "querystring":
            parameters.append(f"{ref.location_name}={upload}")
    return operation.http.method, f"{path}?{'&'.join(parameters)}" if parameters else path


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        said = {"x-amz-bucket-object-lock-enabled": "true"}
        assert (await opened.ask("PUT", "/photos", headers=said)).status == 200
        assert (await opened.ask("PUT", "/photos/kept", b"kept")).status == 200
        yield opened


def document(root: str, head: str, text: str = "&e19;") -> str:
    return f"{head}<{root}>{INSIDE.get(root, '<Status>{e}</Status>').format(e=text)}</{root}>"


async def refused(house: House, name: str, text: bytes, upload: str) -> None:
    method, where = target(name, upload)
    said = {"Content-MD5": b64encode(md5(text).digest()).decode()}
    answer = await house.ask(method, where, text, said)
    assert answer.status == 400, (name, text[:80], answer)
    assert answer.code in ("MalformedXML", "MalformedACLError"), (name, text[:80], answer)
    assert SECRET.encode() not in answer.body and b"kept" not in answer.body.replace(
        b"/photos/kept", b""
    )


def test_all_entrances_are_known() -> None:
    names = dict(entrances())
    assert len(names) >= 20
    assert {"CreateBucket", "DeleteObjects", "CompleteMultipartUpload", "PutObjectAcl"} <= {*names}
    assert all(SHAPES and root for root in names.values())


@pytest.mark.parametrize("what", HEADS)
async def test_nothing_is_expanded_or_fetched(house: House, what: str) -> None:
    calls = 0

    async def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        writer.close()

    server = await asyncio.start_server(called, "127.0.0.1", 0)
    host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    upload = (await house.ask("POST", "/photos/kept?uploads")).texts("UploadId")[0]
    before = time.process_time()
    for name, root in entrances():
        head = HEADS[what].format(root=root, host=host)
        for inside in ("&e19;", "x"):
            text = document(root, f'<?xml version="1.0"?>{head}', inside)
            await refused(house, name, text.encode(), upload)
    tags = document("Tagging", HEADS[what].format(root="Tagging", host=host))
    fields = {"key": "form", "tagging": tags}
    signed = signed_v4(fields, policy(["starts-with", "$tagging", ""]))
    assert (await post(house, form(signed))).code == "MalformedXML"
    assert time.process_time() - before < 20
    server.close()
    assert calls == 0
    assert house.names.directory.bucket("new-bucket") is None
    assert await house.keys() == ["kept"]


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_in_no_encoding(house: House, encoding: str) -> None:
    """Neither what says its encoding nor what leaves it to be guessed."""
    upload = (await house.ask("POST", "/photos/kept?uploads")).texts("UploadId")[0]
    for name, root in entrances():
        inside = document(root, f'<!DOCTYPE {root} [<!ENTITY e19 "x">]>')
        for prologue in ("", f'<?xml version="1.0" encoding="{encoding}"?>'):
            await refused(house, name, (prologue + inside).encode(encoding), upload)


async def test_without_it_they_are_taken(house: House) -> None:
    """So that nothing else was wrong with those above."""
    taken = set()
    for name, root in entrances():
        if root in INSIDE:
            text = document(root, "", "x").encode()
            method, where = target(name, "")
            said = {"Content-MD5": b64encode(md5(text).digest()).decode()}
            answer = await house.ask(method, where, text, said)
            assert answer.status in (200, 204), (name, answer)
            taken.add(root)
    assert taken == INSIDE.keys()
