"""The lab's demo user: made once, tried out at every datacenter, shown with commands to paste.

`request` is a signed S3 request of the smallest kind: AWS Signature Version 4, as in Amazon's
"Create a signed AWS API request".
"""

import hashlib
import hmac
import http.client
import shlex
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from admin.client import AdminClient
from admin.errors import AdminError

EMAIL = "demo@example.com"
BUCKET = "hello"
ANSWER_SECONDS = 20.0
ANSWER_BYTES_MAX = 32 << 20


class DemoUser(msgspec.Struct, frozen=True):
    """With a key pair."""

    email: str
    access_key: str
    secret_key: str


def ensure_user(client: AdminClient, known: DemoUser | None) -> DemoUser:
    """The demo user: the known one when its key still exists, else a new user or a new key."""
    users = {user["email"]: user["access_keys"] for user in client.get("users")["users"]}
    if known is not None and known.access_key in users.get(known.email, ()):
        return known
    if EMAIL not in users:
        made = client.post("users", body={"email": EMAIL})
    else:
        # A lab that was killed in between made a key whose secret nobody has kept.
        if len(users[EMAIL]) > 1:
            client.delete("users", EMAIL, "keys", users[EMAIL][-1])
        made = client.post("users", EMAIL, "keys")
    return DemoUser(made["email"], made["access_key"], made["secret_key"])


def list_buckets(address: str, region: str, user: DemoUser, wall_ms: int) -> list[str] | None:
    """The user's buckets at an S3 endpoint, None when the key does not work there yet."""
    status, answer = request("GET", "/", address, region, user, wall_ms)
    if status != 200:
        return None
    return [rest.partition("</Name>")[0] for rest in answer.decode().split("<Name>")[1:]]


def request(
    method: str,
    path: str,
    address: str,
    region: str,
    user: DemoUser,
    wall_ms: int,
    body: bytes = b"",
) -> tuple[int, bytes]:
    """A signed request without a query; `path` needs no encoding. The status and the answer's body.
    AdminError when there is no answer."""
    moment = datetime.fromtimestamp(wall_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    content = hashlib.sha256(body).hexdigest()
    names = "host;x-amz-content-sha256;x-amz-date"
    headers = {"host": address, "x-amz-content-sha256": content, "x-amz-date": moment}
    lines = "".join(f"{name}:{headers[name]}\n" for name in names.split(";"))
    canonical = f"{method}\n{path}\n\n{lines}\n{names}\n{content}"
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{user.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={user.access_key}/{scope},"
        f"SignedHeaders={names},Signature={signature}"
    )
    connection = http.client.HTTPConnection(address, timeout=ANSWER_SECONDS)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read(ANSWER_BYTES_MAX)
    except (OSError, http.client.HTTPException) as error:
        raise AdminError(f"S3 at {address} does not answer: {error}") from None
    finally:
        connection.close()


def free_bucket(taken: list[str]) -> str:
    """A name for the commands to make that the user has not made before."""
    number = 2
    name = BUCKET
    while name in taken:
        name = f"{BUCKET}-{number}"
        number += 1
    return name


def aws_command() -> str:
    """How to call the aws CLI: the one on the PATH, or the one installed beside this Python."""
    beside = Path(sys.executable).with_name("aws")
    if shutil.which("aws") or not beside.exists():
        return "aws"
    here = Path.cwd()
    return shlex.quote(str(beside.relative_to(here) if beside.is_relative_to(here) else beside))
