"""Requests for each operation; presigned URLs of any shape; where a datacenter listens."""

import hashlib
import hmac
import tomllib
from base64 import b64encode
from email.utils import formatdate
from typing import NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

from gateway_kit import REGION, amz_date, signing_key
from process_kit import Dc

from gateway.model.shapes import OPERATIONS
from gateway.sigv2 import SIGNED_PARAMETERS


class Route(NamedTuple):
    name: str
    method: str
    target: str
    headers: dict[str, str]


def route(name: str) -> Route:
    """The least that makes a request one for an operation of the model."""
    operation = OPERATIONS[name]
    path, _, query = operation.http.request_uri.partition("?")
    path = path.replace("{Bucket}", "photos").replace("{Key+}", "kept")
    members = operation.asked.members
    parameters = [query] if query else []
    headers: dict[str, str] = {}
    for ref in (members[member] for member in operation.asked.required):
        if ref.location == "querystring":
            parameters.append(f"{ref.location_name}=1")
        elif ref.location_name == "x-amz-copy-source":
            headers[ref.location_name] = "/photos/kept"
        elif ref.location == "header":
            headers[ref.location_name] = "1"
    target = f"{path}?{'&'.join(parameters)}" if parameters else path
    return Route(name, operation.http.method, target, headers)


def _encoded(text: str, safe: str = "") -> str:
    return quote(unquote_to_bytes(text), safe=safe + "-_.~")


def presign(
    host: str, method: str, target: str, *, user: str = "ann", secret: str | None = None,
    shift_s: float = 0, headers: dict[str, str] | None = None,
) -> str:  # fmt: skip
    """`target` (path and query, percent-encoded) with a signature in its query, over Host and
    `headers`."""
    stamp = amz_date(shift_s)
    values = {name.lower(): value for name, value in (headers or {}).items()} | {"host": host}
    names = sorted(values)
    scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
    path, _, query = target.partition("?")
    access = quote(f"AK{user.upper()}/{scope}", safe="")
    query += f"{'&' if query else ''}X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={access}"
    query += f"&X-Amz-Date={stamp}&X-Amz-Expires=300&X-Amz-SignedHeaders={'%3B'.join(names)}"
    pairs = [part.partition("=") for part in query.split("&")]
    ordered = "&".join(
        f"{n}={v}" for n, v in sorted((_encoded(n), _encoded(v)) for n, _, v in pairs)
    )
    lines = "".join(f"{name}:{values[name]}\n" for name in names)
    canonical = "\n".join(
        (method, _encoded(path, "/"), ordered, lines, ";".join(names), "UNSIGNED-PAYLOAD")
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    key = signing_key(secret or f"secret of {user}", stamp[:8])
    return f"{path}?{query}&X-Amz-Signature={hmac.digest(key, to_sign.encode(), 'sha256').hex()}"


def port_of(dc: Dc, listener: str) -> int:
    """`listener`: s3, peer or admin."""
    settings = tomllib.loads((dc.folder / "farshore.toml").read_text())
    return int(str(settings[listener]["listen"]).rpartition(":")[2])


def sign_v2(
    host: str, method: str, target: str, *, user: str = "ann", secret: str | None = None,
    expires: int | None = None, headers: dict[str, str] | None = None, date: str | None = None,
) -> tuple[str, dict[str, str]]:  # fmt: skip
    """Target and headers of a request signed with Version 2: in its header, or in its query when it
    `expires`."""
    path, _, query = target.partition("?")
    signed = sorted(
        part for part in query.split("&") if unquote(part.partition("=")[0]) in SIGNED_PARAMETERS
    )
    resource = path + (f"?{unquote('&'.join(signed))}" if signed else "")
    date = (date or formatdate(usegmt=True)) if expires is None else str(expires)
    amz = "".join(
        f"{name.lower()}:{value}\n"
        for name, value in sorted((headers or {}).items())
        if name.lower().startswith("x-amz-")
    )
    key = (secret or f"secret of {user}").encode()
    text = f"{method}\n\n\n{date}\n{amz}{resource}"
    signature = b64encode(hmac.digest(key, text.encode(), "sha1")).decode()
    sent = {"Host": host, **(headers or {})}
    if expires is None:
        sent |= {"Date": date, "Authorization": f"AWS AK{user.upper()}:{signature}"}
        return target, sent
    own = f"AWSAccessKeyId=AK{user.upper()}&Expires={expires}&Signature={quote(signature, safe='')}"
    return f"{target}{'&' if query else '?'}{own}", sent
