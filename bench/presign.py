"""Presigned S3 URLs, many at once.

The same as botocore makes (SigV4 in the query, only `host` signed, the payload unsigned), but a
hundred times as fast: what is alike for all URLs is computed once.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from datetime import datetime
from urllib.parse import quote

Query = Sequence[tuple[str, str]]


class Presigner:
    """Signs for one endpoint, key pair and moment (`when`, in UTC)."""

    def __init__(
        self,
        address: str,
        access_key: str,
        secret_key: str,
        region: str,
        when: datetime,
        expires_seconds: int = 86_400,
    ) -> None:
        date, stamp = when.strftime("%Y%m%d"), when.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{date}/{region}/s3/aws4_request"
        key = f"AWS4{secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._hmac = hmac.new(key, digestmod="sha256")
        self._to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n"
        self._canonical_tail = f"\nhost:{address}\n\nhost\nUNSIGNED-PAYLOAD"
        self._fields = [
            "X-Amz-Algorithm=AWS4-HMAC-SHA256",
            f"X-Amz-Credential={quote(f'{access_key}/{scope}', safe='')}",
            f"X-Amz-Date={stamp}",
            f"X-Amz-Expires={expires_seconds}",
            "X-Amz-SignedHeaders=host",
        ]

    def path(self, method: str, bucket: str, key: str = "", query: Query = ()) -> str:
        """The request target, path-style, with its signature."""
        path = quote(f"/{bucket}/{key}" if key else f"/{bucket}", safe="/-_.~")
        given = [f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query]
        canonical = "&".join(sorted(given + self._fields))
        signature = self._sign(f"{method}\n{path}\n{canonical}{self._canonical_tail}")
        return f"{path}?{'&'.join(given + self._fields)}&X-Amz-Signature={signature}"

    def paths(self, method: str, bucket: str, keys: Iterable[str]) -> list[str]:
        """The same for many keys that need no escaping."""
        fields = "&".join(self._fields)
        tail = f"\n{fields}{self._canonical_tail}"
        made = []
        for key in keys:
            path = f"/{bucket}/{key}"
            signature = self._sign(f"{method}\n{path}{tail}")
            made.append(f"{path}?{fields}&X-Amz-Signature={signature}")
        return made

    def _sign(self, request: str) -> str:
        signing = self._hmac.copy()
        signing.update((self._to_sign + hashlib.sha256(request.encode()).hexdigest()).encode())
        return signing.hexdigest()
