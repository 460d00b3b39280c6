"""A small blocking S3 client for what surrounds a measurement: buckets, listings, checks."""

import http.client
import re

from bench.errors import BenchError
from bench.presign import Presigner, Query

WAIT_SECONDS_MAX = 30
PAGE = 1000
_KEY = re.compile(r"<Key>([^<]*)</Key>")


class S3:
    """One keep-alive connection to one address."""

    def __init__(self, address: str, presigner: Presigner) -> None:
        self.address = address
        self.presigner = presigner
        self._connection = self._connect()

    def _connect(self) -> http.client.HTTPConnection:
        host, _, port = self.address.rpartition(":")
        return http.client.HTTPConnection(host, int(port), timeout=WAIT_SECONDS_MAX)

    def close(self) -> None:
        self._connection.close()

    def call(
        self, method: str, bucket: str, key: str = "", query: Query = (), body: bytes = b""
    ) -> tuple[int, bytes]:
        """Status and body of the answer. A connection that the server has closed is replaced."""
        target = self.presigner.path(method, bucket, key, query)
        return self.send(method, target, body)

    def send(self, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        """The same for a presigned target."""
        for attempt in (1, 2):
            try:
                self._connection.request(method, target, body or None)
                answer = self._connection.getresponse()
                return answer.status, answer.read()
            except (http.client.HTTPException, ConnectionError):
                self._connection.close()
                self._connection = self._connect()
                if attempt == 2:
                    raise
        raise AssertionError

    def must(
        self, method: str, bucket: str, key: str = "", query: Query = (), body: bytes = b""
    ) -> bytes:
        """The body of a 2xx answer; BenchError for any other."""
        status, answer = self.call(method, bucket, key, query, body)
        if not 200 <= status < 300:
            text = answer[:300].decode("utf-8", "replace")
            raise BenchError(f"{method} /{bucket}/{key} was answered {status}: {text}")
        return answer

    def page(self, bucket: str, after: str = "", limit: int = PAGE) -> list[str]:
        """Keys after `after`; none when the bucket is not (yet) there or not (yet) to be read."""
        status, answer = self.call("GET", bucket, query=list_query(after, limit))
        return _KEY.findall(answer.decode()) if status == 200 else []

    def keys(self, bucket: str) -> list[str]:
        """All keys of a bucket."""
        found: list[str] = []
        while page := self.page(bucket, found[-1] if found else ""):
            found += page
        return found


def list_query(after: str, limit: int = PAGE) -> Query:
    """A page of ListObjectsV2."""
    query = [("list-type", "2"), ("max-keys", str(limit))]
    return [*query, ("start-after", after)] if after else query
