"""Secrets are planted, used, misused; then every log, output and file is looked through for them.

Published as RustFS GHSA-xrrf, GHSA-333v; lakeFS GHSA-4rgc; Swift CVE-2017-8761.
"""

import base64
import json
import stat
import urllib.request
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError

import pytest
from botocore.exceptions import ClientError
from process_kit import Dc, pair, s3_client
from security_kit import port_of

pytestmark = pytest.mark.process

SECRET_FILES = {"identity", "data.key", "peer.key", "admin.token"}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("canaries")
    dcs = Dc(root / "a", "paris"), Dc(root / "b", "oslo")
    try:
        for dc in dcs:
            dc.start()
        yield dcs
    finally:
        for dc in dcs:
            dc.end()


def fetch(url: str, data: bytes | None = None, **headers: str) -> int:
    """The status."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10) as got:
            return int(got.status)
    except HTTPError as error:
        error.close()
        return error.code


def spellings(secret: bytes) -> set[bytes]:
    """The secret as it is, in hex and in the forms of base64."""
    url, usual = base64.urlsafe_b64encode(secret), base64.b64encode(secret)
    return {secret, secret.hex().encode(), url.rstrip(b"="), usual.rstrip(b"=")}


def misuse(dc: Dc, keys: dict[str, str], admin: str) -> set[str]:
    """Requests of all kinds, good and bad; what in them is secret."""
    client = s3_client(dc.s3_port, keys)
    with suppress(ClientError):
        client.create_bucket(Bucket="photos")
    client.put_object(Bucket="photos", Key="k", Body=b"abc")
    url = client.generate_presigned_url("get_object", {"Bucket": "photos", "Key": "k"})
    for way in (url, url + "&x=1", url.replace("/k?", "/%00?"), url.replace("/k?", "/absent?")):
        fetch(way)
    for bad in ({"secret_key": "Canary" + keys["secret_key"]}, {"access_key": keys["secret_key"]}):
        with pytest.raises(ClientError):
            s3_client(dc.s3_port, keys | bad).list_buckets()
    base = f"http://127.0.0.1:{port_of(dc, 'admin')}"
    for path in ("/users", "/users/absent@example.com/keys", "/absent"):
        fetch(base + path, Authorization=f"Bearer {admin}")
    for path in ("/users", "/datacenters", "/tokens"):
        for body in (b"{\xff", b'{"token": "\xff"}', b"[" * 60_000, b'{"token": "\\ud800"}'):
            assert fetch(base + path, body, Authorization=f"Bearer {admin}") < 500, body[:20]
    return {url.partition("Signature=")[2]}


def test_nothing_secret_is_in_any_log_output_or_file(two: tuple[Dc, Dc]) -> None:
    one, other = two
    pair(one, other)
    keys = one.facts("user", "add", "ann@example.com")
    secrets: set[bytes] = {keys["secret_key"].encode()}
    for dc in two:
        for name in SECRET_FILES - {"identity"}:
            secrets.add((dc.folder / name).read_bytes().strip())
        identity = json.loads((dc.folder / "identity").read_bytes())
        secrets |= {identity[name].encode() for name in ("signing_seed", "sealing_secret")}
        admin = (dc.folder / "admin.token").read_text().strip()
        if dc is one:
            secrets |= {text.encode() for text in misuse(dc, keys, admin)}
    outputs = b""
    for dc in two:
        for words in ("user list", "dc list", "replication status", "status", "health"):
            for more in ([], ["--json"]):
                done = dc.cli(*words.split(), *more, check=False)
                outputs += (done.stdout + done.stderr).encode()
        outputs += dc.cli("user", "keys", "ann@example.com", check=False).stdout.encode()
        assert dc.stop() == 0
    found = {"output": outputs}
    for dc in two:
        found[f"{dc.name}.log"] = (dc.folder.parent / f"{dc.name}.log").read_bytes()
        for path in dc.folder.rglob("*"):
            if path.is_file() and path.name not in SECRET_FILES:
                found[str(path.relative_to(dc.folder.parent))] = path.read_bytes()
    assert any("names.db" in name for name in found) and found["paris.log"]
    for name, data in found.items():
        for secret in secrets:
            for spelled in spellings(secret):
                assert spelled not in data, f"a secret is in {name}"


def test_modes(two: tuple[Dc, Dc]) -> None:
    for dc in two:
        for path in (dc.folder, dc.folder / "names", dc.folder / "containers"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
        for name in SECRET_FILES:
            path: Path = dc.folder / name
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
