"""Every listener of a real datacenter, without credentials and with those of another door.

Published as MinIO CVE-2023-28432, SeaweedFS CVE-2026-72920, CVE-2026-73080, CVE-2026-100413,
RustFS GHSA-h956; for tokens, MinIO CVE-2026-33322; for users of S3 who reach for what is the
administrator's, MinIO CVE-2020-11012 (a right key, and no secret), CVE-2021-43858 (rights that one
gives to oneself), CVE-2022-24842 (keys made for others), CVE-2024-55949 (anybody imports). Only
health answers, and S3 that a stranger has no buckets; a token is for one purpose.
"""

import http.client
import re
import socket
import ssl
from base64 import b64encode, urlsafe_b64encode
from contextlib import suppress
from pathlib import Path

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, ParamValidationError
from process_kit import Dc, s3_client
from security_kit import port_of

from tokens.access import issue_access
from tokens.identity import Identity

pytestmark = pytest.mark.process

ADMIN_SOURCE = Path(__file__).parents[2] / "admin" / "api.py"
ADMIN = sorted(set(re.findall(r'"(/[a-z{}/]+)"', ADMIN_SOURCE.read_text())) - {"/health"})
COMMON = [
    *("/", "/metrics", "/debug", "/debug/pprof", "/status", "/env", "/config", "/.git/config"),
    *("/minio/health/live", "/minio/bootstrap/v1/verify", "/admin", "/_stats", "/farshore.toml"),
    *("/health/../users", "/health/", "//health", "/health%2f..%2fusers", "/users;/health"),
    *("/admin.token", "/identity", "/data.key", "/names/names.db", "/%2e%2e/identity"),
]
PEER = [
    *("/v2/feed", "/v2/body", "/v2/entry", "/v2/ack", "/v2/state", "/v2/pair", "/v2", "/v1/state"),
    *("/v2/roots", "/v2/leaves", "/v2/items", "/v2/states", "/v2/records", "/v2/pull"),
    *("/v2/buckets", "/v2/preview", "/v2/read", "/v2/current", "/v2/list"),
]
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


def ask(
    dc: Dc, listener: str, method: str, path: str, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    port = port_of(dc, listener)
    if listener == "peer":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=10, context=context
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(("listener", "refusal"), [("admin", 401), ("peer", 403)])
def test_no_route_answers_a_stranger(dc: Dc, listener: str, refusal: int) -> None:
    assert len(ADMIN) >= 7
    bodies = set()
    for path in [*COMMON, *ADMIN, *PEER]:
        for method in METHODS:
            status, body = ask(dc, listener, method, path)
            assert status == refusal, (listener, method, path, status)
            bodies.add(body)
    assert len(bodies) <= 2, "refusals differ (HEAD has no body)"


def test_s3_takes_every_route_for_a_bucket(dc: Dc) -> None:
    """On this listener a path is a bucket and a key, so what is refused says so: there is no such
    bucket, or no bucket can have that name, or this is not how buckets are asked for."""
    for path in [*COMMON, *ADMIN, *PEER]:
        for method in METHODS:
            if (method, path) == ("GET", "/"):
                continue
            status, body = ask(dc, "s3", method, path)
            assert status in (400, 403, 404, 405, 412), (method, path, status)
            assert method == "HEAD" or b"<Error><Code>" in body, (method, path, body)
    # Requests that nobody signed are taken since buckets may be public, and who asks so for the
    # list of its buckets gets an answer, as everybody does: it has none.
    status, body = ask(dc, "s3", "GET", "/")
    assert (status, b"<Buckets></Buckets>" in body) == (200, True), body


def test_users_of_s3_are_strangers_elsewhere(dc: Dc) -> None:
    """Whatever they do with their keys: there is no user whom the other listeners know, and no
    request to S3 that makes users, keys or peers."""
    keys = dc.facts("user", "add", "ann@example.com")
    access, secret = keys["access_key"], keys["secret_key"]
    basic = b64encode(f"{access}:{secret}".encode()).decode()
    for path in [*ADMIN, *PEER]:
        for method in ("GET", "POST", "DELETE"):
            for listener, refusal in (("admin", 401), ("peer", 403)):
                request = AWSRequest(method, f"http://127.0.0.1:{port_of(dc, listener)}{path}")
                SigV4Auth(Credentials(access, secret), "s3", "us-east-1").add_auth(request)
                for headers in (
                    dict(request.headers.items()),
                    {"Authorization": f"Bearer {secret}"},
                    {"Authorization": f"Bearer {access}"},
                    {"Authorization": f"Basic {basic}"},
                    {"Authorization": f"AWS {access}:{secret}"},
                ):
                    status, _ = ask(dc, listener, method, path, headers)
                    assert status == refusal, (listener, method, path)
    before = dc.facts("user", "list"), dc.facts("dc", "list")
    client = s3_client(dc.s3_port, keys)
    for path in ADMIN:
        bucket, _, key = path.strip("/").partition("/")
        for body in (b'{"email": "eve@example.com"}', b'{"token": "x"}', b"{}"):
            with suppress(ClientError, ParamValidationError):
                client.put_object(Bucket=bucket, Key=key or "k", Body=body)
    assert (dc.facts("user", "list"), dc.facts("dc", "list")) == before


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("Content-Encoding: gzip\r\nContent-Length: 20", b"\x1f\x8b" + b"a" * 18),
        ("Transfer-Encoding: chunked", b"zz\r\nabc\r\n0\r\n\r\n"),
        ("Content-Length: 9", b"\x81\xa5offer\xa1\xff"),
        ("Content-Length: 70000", b"x" * 70_000),
    ],
)
def test_a_stranger_cannot_make_the_peer_listener_fail(dc: Dc, header: str, body: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain = socket.create_connection(("127.0.0.1", port_of(dc, "peer")), timeout=10)
    with context.wrap_socket(plain) as line:
        line.sendall(f"POST /v2/pair HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode() + body)
        assert line.recv(16).split(b" ")[1] in (b"400", b"403")


def test_health_says_one_word(dc: Dc) -> None:
    assert ask(dc, "admin", "GET", "/health") == (200, b'{"status":"ok"}')


def test_a_token_opens_one_door_only(dc: Dc) -> None:
    """Tokens of other purposes, of an unpaired DC, for another DC, and those of the other doors."""
    admin = (dc.folder / "admin.token").read_text().strip()
    pairing = dc.cli("token", "issue").stdout.splitlines()[-1]
    identity = Identity.load((dc.folder / "identity").read_bytes())
    now = int((dc.folder / "run.json").stat().st_mtime)
    own = issue_access(identity, identity.dc_id, now, lambda count: bytes(count))
    empty = urlsafe_b64encode(b"{}").decode()
    for token in (admin, pairing, own, "v4.public.", "v4.local.AAAA", f"v3.public.{empty}", empty):
        bearer = {"Authorization": f"Bearer {token}"}
        for path in PEER:
            assert ask(dc, "peer", "GET", path, bearer)[0] == 403
        assert ask(dc, "s3", "GET", "/", bearer)[0] in (400, 403)
        if token != admin:
            assert ask(dc, "admin", "GET", "/users", bearer)[0] == 401
    for header in ("X-Admin-Token", "X-Forwarded-User", "X-Forwarded-For", "Cookie"):
        assert ask(dc, "admin", "GET", "/users", {header: admin})[0] == 401
    assert ask(dc, "admin", "GET", f"/users?token={admin}")[0] == 401
    rebound = {"Authorization": f"Bearer {admin}", "Host": "evil.example"}
    assert ask(dc, "admin", "GET", "/users", rebound)[0] == 421
    assert ask(dc, "admin", "GET", "/users", {"Authorization": f"Bearer {admin}"})[0] == 200
