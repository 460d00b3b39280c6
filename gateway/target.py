"""What a request is about: bucket, key and query, taken once from the request line and Host.

This is the only place where a path becomes a bucket and a key. The path is percent-decoded exactly
once, by the decoder of the signature's own code, so what was verified and what is used cannot
differ. A key is nothing but text: `..`, `//`, `.` and `%2F` in it have no meaning, and it never
becomes the name of a file.

With virtual-host addressing (Host `bucket.s3.example.org`, for a base domain `s3.example.org`) the
whole path is the key. A host that is neither a base domain nor below one is path-style: that is how
addresses and names of load balancers work without being configured.
"""

from functools import lru_cache

from gateway.errors import S3Error
from gateway.limits import KEY_BYTES_MAX
from gateway.uri import decode_path, parse_query

_AUTH_PREFIX = "X-Amz-"
_AUTH_NEXT = f"&{_AUTH_PREFIX}"
_HOST_CHARS_MAX = 255
_HOSTS_REMEMBERED = 256
_NO_QUERY: dict[str, str] = {}


class Target:
    """`bucket` and `key` are "" when the request names none."""

    __slots__ = ("bucket", "key", "query")

    def __init__(self, bucket: str, key: str, query: dict[str, str]) -> None:
        self.bucket = bucket
        self.key = key
        self.query = query

    @property
    def resource(self) -> str:
        return f"/{self.bucket}/{self.key}" if self.key else f"/{self.bucket}"


def parse_target(raw_path: str, raw_query: str, host: str, base_domains: tuple[str, ...]) -> Target:
    """The target; `base_domains` are lower-case. InvalidBucketName, InvalidURI, KeyTooLongError."""
    path = decode_path(raw_path)
    bucket = bucket_of_host(host, base_domains)
    if bucket is None:
        bucket, _, key = path[1:].partition("/")
    else:
        key = path[1:]
    if key:
        if not bucket:
            raise S3Error("InvalidBucketName", extra={"BucketName": ""})
        check_key(key)
    return Target(bucket, key, parse_parameters(raw_query) if raw_query else _NO_QUERY)


@lru_cache(maxsize=_HOSTS_REMEMBERED)
def bucket_of_host(host: str, base_domains: tuple[str, ...]) -> str | None:
    """The bucket in a Host header, None when the request is path-style."""
    if len(host) > _HOST_CHARS_MAX:
        raise S3Error("InvalidRequest", "The Host header is too long.")
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    name = name.lower()
    for domain in base_domains:
        if name == domain:
            return None
    for domain in base_domains:
        if name.endswith(domain) and name[-len(domain) - 1 : -len(domain)] == ".":
            return name[: -len(domain) - 1]
    return None


def check_key(key: str) -> None:
    """Raise unless this may be the key of an object."""
    if len(key) * 4 > KEY_BYTES_MAX:
        size = len(key.encode())
        if size > KEY_BYTES_MAX:
            extra = {"Size": str(size), "MaxSizeAllowed": str(KEY_BYTES_MAX)}
            raise S3Error("KeyTooLongError", extra=extra)
    if "\0" in key:
        raise S3Error("InvalidURI", "A key cannot hold a NUL byte.")


def parse_parameters(raw_query: str) -> dict[str, str]:
    """The parameters that are not of the signature; one given twice is refused."""
    if raw_query.startswith(_AUTH_PREFIX) and raw_query.count("&") == raw_query.count(_AUTH_NEXT):
        return _NO_QUERY
    found: dict[str, str] = {}
    for part in raw_query.split("&"):
        if part.startswith(_AUTH_PREFIX):
            continue
        for name, value in parse_query(part):
            if name in found:
                raise S3Error(
                    "InvalidArgument",
                    "A query parameter was given more than once.",
                    extra={"ArgumentName": name},
                )
            found[name] = value
    return found
