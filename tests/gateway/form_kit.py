"""Forms as browsers post them, well signed or badly."""

import hashlib
import hmac
import json
from base64 import b64encode
from typing import Any

from gateway_kit import REGION, Answer, House, amz_date, request_bytes, signing_key

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
FAR = "2099-12-31T23:59:59Z"
"""When policies expire that are made while tests are collected, long before they are used."""
Fields = dict[str, str]


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    more = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def form(
    fields: Fields,
    file: bytes | None = b"bytes",
    filename: str = "f.txt",
    after: Fields | None = None,
) -> bytes:
    body = b"".join(part(name, value.encode()) for name, value in fields.items())
    if file is not None:
        body += part("file", file, filename)
    body += b"".join(part(name, value.encode()) for name, value in (after or {}).items())
    return body + f"--{BOUNDARY}--\r\n".encode()


def policy(*conditions: Any, bucket: str = "photos", expiration: str = FAR) -> dict[str, Any]:
    """A policy for a bucket; `conditions` are further ones."""
    return {
        "expiration": expiration,
        "conditions": [{"bucket": bucket}, ["starts-with", "$key", ""], *conditions],
    }


def encode(document: Any) -> str:
    return b64encode(json.dumps(document).encode()).decode()


def signed_v4(
    fields: Fields,
    document: Any,
    *,
    user: str = "ann",
    secret: str | None = None,
    shift_s: float = 0,
) -> Fields:
    """`fields` with those of a signature, which are added to the policy's conditions."""
    stamp = amz_date(shift_s)
    own = {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"AK{user.upper()}/{stamp[:8]}/{REGION}/s3/aws4_request",
        "x-amz-date": stamp,
    }
    if isinstance(document, dict) and isinstance(document.get("conditions"), list):
        conditions = [*document["conditions"], *({name: own[name]} for name in own)]
        document = {**document, "conditions": conditions}
    text = document if isinstance(document, str) else encode(document)
    key = signing_key(secret or f"secret of {user}", stamp[:8])
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return {**fields, **own, "policy": text, "x-amz-signature": signature}


def signed_v2(
    fields: Fields, document: Any, *, user: str = "ann", secret: str | None = None
) -> Fields:
    text = document if isinstance(document, str) else encode(document)
    key = (secret or f"secret of {user}").encode()
    signature = b64encode(hmac.digest(key, text.encode(), "sha1")).decode()
    own = {"AWSAccessKeyId": f"AK{user.upper()}", "policy": text, "signature": signature}
    return {**fields, **own}


async def post(
    house: House,
    body: bytes,
    target: str = "/photos",
    headers: dict[str, str] | None = None,
    content_type: str = f"multipart/form-data; boundary={BOUNDARY}",
) -> Answer:
    sent = {"Host": house.host, "Content-Type": content_type, "Content-Length": str(len(body))}
    return await house.raw(request_bytes("POST", target, {**sent, **(headers or {})}, body))
