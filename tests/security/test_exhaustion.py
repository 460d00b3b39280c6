"""What a request costs is bounded by its size, and what strangers send is not kept.

Published among others as Swift CVE-2026-49017, aiohttp CVE-2025-69228, Ceph CVE-2019-19337.
"""

import asyncio
import hashlib
import itertools
import json
import string
import time
import tracemalloc
from base64 import b64encode

import pytest
from gateway_kit import House, amz_date, request_bytes, sign

from gateway.errors import S3Error
from gateway.xmltext import parse_document

MIB = 1 << 20


async def test_strangers_names_of_signed_headers_are_not_kept(house: House) -> None:
    """One connection, no key, 300 requests of 8 KiB: what is kept must not come near 12 MiB."""
    stamp = amz_date()
    words = ["".join(three) for three in itertools.product(string.ascii_lowercase, repeat=3)]
    scope = f"{stamp[:8]}/paris/s3/aws4_request"
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for turn in range(300):
            names = ";".join(words[turn : turn + 1900])
            text = f"AWS4-HMAC-SHA256 Credential=x/{scope}, SignedHeaders={names}, Signature=00"
            headers = {
                "Host": house.host, "x-amz-date": stamp, "Authorization": text,
                "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
            }  # fmt: skip
            answer = await house.raw(request_bytes("GET", "/photos/k", headers))
            assert answer.status == 400
        assert tracemalloc.get_traced_memory()[0] - before < 4 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "body",
    [
        b"<Delete>" + b"<a/>" * 500_000 + b"</Delete>",
        b"<Delete>" + b"<a>" * 600_000,
        b"<Delete " + b" ".join(b'a%d=""' % number for number in range(1000)) + b"/>",
        b'<!DOCTYPE Delete [<!ENTITY a "aaaaaaaa">]><Delete>&a;</Delete>',
        b'<!DOCTYPE Delete SYSTEM "http://127.0.0.1:9/x"><Delete/>',
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE Delete><Delete/>'.encode("utf-16"),
    ],
    ids=["wide", "deep", "attributes", "entity", "external", "UTF-16"],
)
def test_documents_that_grow(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(S3Error, match="MalformedXML"):
            parse_document(body, "Delete")
        assert tracemalloc.get_traced_memory()[1] < 40 * MIB
    finally:
        tracemalloc.stop()


async def test_tiny_chunks_take_no_more_than_their_bytes(house: House) -> None:
    size = 100_000
    body = b"1\r\nx\r\n" * size + b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    headers = {
        "Host": house.host, "x-amz-decoded-content-length": str(size),
        "x-amz-trailer": "x-amz-checksum-crc32", "Content-Length": str(len(body)),
    }  # fmt: skip
    signed = sign("PUT", "/photos/k", headers, "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    reader, writer = await house.connect()
    writer.write(request_bytes("PUT", "/photos/k", signed))
    tracemalloc.start()
    try:
        for start in range(0, len(body), 20_000):
            writer.write(body[start : start + 20_000])
            await asyncio.sleep(0.005)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        assert b" 400 " in head
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()
        writer.close()
    assert await house.keys() == []


async def test_a_thousand_and_one_deletes(house: House) -> None:
    body = b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1001 + b"</Delete>"
    md5 = b64encode(hashlib.md5(body).digest()).decode()
    answer = await house.ask("POST", "/photos?delete", body, {"Content-MD5": md5})
    assert answer.code == "MalformedXML"


async def test_a_policy_for_a_thousand_keys_holds_nobody_up(house: House) -> None:
    """Each key may take milliseconds: others are served in between."""
    slow = [f"arn:aws:s3:::photos/*{'a?' * 200}b{number}*" for number in range(8)]
    rule = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": slow}
    policy = json.dumps({"Statement": rule}).encode()
    assert (await house.ask("PUT", "/photos?policy", policy)).status == 204
    keys = b"".join(b"<Object><Key>%b%d</Key></Object>" % (b"a" * 1000, n) for n in range(100))
    body = b"<Delete>" + keys + b"</Delete>"
    md5 = b64encode(hashlib.md5(body).digest()).decode()
    deleting = asyncio.create_task(
        house.ask("POST", "/photos?delete", body, {"Content-MD5": md5}, user="ann")
    )
    times = [time.perf_counter()]
    while not deleting.done():
        await asyncio.sleep(0)
        times.append(time.perf_counter())
    answer = await deleting
    assert (answer.status, len(answer.texts("Deleted"))) == (200, 100)
    longest = max(after - before for before, after in itertools.pairwise(times))
    assert longest < (times[-1] - times[0]) / 3
