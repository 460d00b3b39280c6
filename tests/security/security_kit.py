"""Presigned URLs of any shape; where a datacenter listens."""

import hashlib
import hmac
import tomllib
from urllib.parse import quote, unquote_to_bytes

from gateway_kit import REGION, amz_date, signing_key
from process_kit import Dc


def _encoded(text: str, safe: str = "") -> str:
    return quote(unquote_to_bytes(text), safe=safe + "-_.~")


def presign(
    host: str, method: str, target: str, *, user: str = "ann", secret: str | None = None
) -> str:
    """`target` (path and query, percent-encoded) with a signature in its query, over Host alone."""
    stamp = amz_date()
    scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
    path, _, query = target.partition("?")
    access = quote(f"AK{user.upper()}/{scope}", safe="")
    query += f"{'&' if query else ''}X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={access}"
    query += f"&X-Amz-Date={stamp}&X-Amz-Expires=300&X-Amz-SignedHeaders=host"
    pairs = [part.partition("=") for part in query.split("&")]
    ordered = "&".join(sorted(f"{_encoded(n)}={_encoded(v)}" for n, _, v in pairs))
    canonical = "\n".join(
        (method, _encoded(path, "/"), ordered, f"host:{host}\n", "host", "UNSIGNED-PAYLOAD")
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    key = signing_key(secret or f"secret of {user}", stamp[:8])
    return f"{path}?{query}&X-Amz-Signature={hmac.digest(key, to_sign.encode(), 'sha256').hex()}"


def port_of(dc: Dc, listener: str) -> int:
    """`listener`: s3, peer or admin."""
    settings = tomllib.loads((dc.folder / "farshore.toml").read_text())
    return int(str(settings[listener]["listen"]).rpartition(":")[2])
