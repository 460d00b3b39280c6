"""The notary service's plug-in against a service over TLS, in a process of its own."""

import json
import ssl
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from plugin_kit import (
    DC_ID,
    ROOT,
    SetClock,
    all_closed,
    checkpoint,
    entry,
    make_ca,
    make_certificate,
    served,
    settings,
)

from dc.system import SystemDisk
from notary.entries import encode
from notary.errors import HookFailed, NotaryRefused
from notary.plugins import service, service_file
from notary.plugins.service import ServiceHook
from notary.plugins.service_file import Service

BATCH = [entry(number) for number in range(40, 45)]
Make = Callable[..., ServiceHook]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DIR, with a CA and the service's certificate."""
    path = tmp_path_factory.mktemp("service")
    make_ca(path, "root")
    make_ca(path, "other-root")
    make_certificate(path, "root", "web", "web")
    (path / "notary").mkdir(0o700)
    return path


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    with served("notary_service.py", folder / "web.pem", folder / "web.key") as found:
        yield found


@pytest_asyncio.fixture
async def make(folder: Path, port: int) -> AsyncIterator[Make]:
    made = []

    def one(key: str, ca: str = "root.pem", dns: str = "localhost") -> ServiceHook:
        given = Service(dns=dns, key=key, port=port, ca=ca)
        service_file.write(SystemDisk(), folder / "notary", given)
        hook = service.make(settings(folder, None))
        assert hook is not None
        made.append(hook)
        return hook

    yield one
    for hook in made:
        await hook.close()
    await all_closed()


async def seen(folder: Path, port: int, key: str) -> list[dict[str, Any]]:
    """What was asked with that key."""
    tls = ssl.create_default_context(cafile=folder / "root.pem")
    async with aiohttp.ClientSession() as session:
        url = f"https://localhost:{port}/seen"
        async with session.get(url, params={"key": key}, ssl=tls) as answer:
            found: list[dict[str, Any]] = await answer.json()
    return found


async def refused(what: Awaitable[Any], key: str) -> HookFailed:
    """The error, in which the key is nowhere: not in what a log would have of it, either."""
    with pytest.raises(HookFailed) as caught:
        await what
    error = caught.value
    whole = "".join(traceback.format_exception(error)) + repr(error) + repr(error.__context__)
    assert key not in whole
    assert error.__cause__ is None
    return error


async def test_entries_come_as_they_are_in_the_log(make: Make, folder: Path, port: int) -> None:
    hook = make("good:entries")
    await hook.entries(40, BATCH)
    (one,) = await seen(folder, port, "good:entries")
    assert one["path"] == "/v1/entries"
    assert one["headers"]["Idempotency-Key"] == f"{DC_ID}/40+{len(BATCH)}"
    assert one["headers"]["Content-Type"] == "application/json"
    body = json.loads(one["body"])
    assert {name: body[name] for name in ("dc", "dc_id", "first")} == {
        "dc": "paris",
        "dc_id": DC_ID,
        "first": 40,
    }
    each = ",".join(encode(entry).decode() for entry in BATCH)
    assert one["body"].endswith(f'"entries":[{each}]}}')
    assert hook.entries_max == 100


async def test_checkpoints_have_receipts(make: Make, folder: Path, port: int) -> None:
    hook = make("good:checkpoint")
    assert hook.checkpoint_seconds == 300
    receipt = await hook.checkpoint(checkpoint())
    assert receipt == b"taken: good:checkpoint"
    (one,) = await seen(folder, port, "good:checkpoint")
    assert one["path"] == "/v1/checkpoints"
    assert json.loads(one["body"]) == {"checkpoint": str(checkpoint())}
    assert one["headers"]["Idempotency-Key"] == f"{DC_ID}/checkpoint/7"
    text = hook.explain(checkpoint().body, ROOT, receipt)
    assert text.startswith("receipt of a notary service, of 22 bytes")
    for data in (b"", bytes(40_000)):
        with pytest.raises(ValueError, match="no receipt"):
            hook.explain(checkpoint().body, ROOT, data)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 409])
async def test_what_is_taken_or_there_already_is_fine(make: Make, status: int) -> None:
    hook = make(f"status:{status}")
    await hook.entries(40, BATCH)
    if status in (202, 204, 409):
        assert status == 202 or await hook.checkpoint(checkpoint()) is None


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "does not take it (status 400)"),
        (401, "refuses the key (status 401): ask its operator for one, then `farshore notary"),
        (403, "refuses the key (status 403)"),
        (404, "does not take it (status 404): is it a notary service?"),
        (422, "does not take it (status 422)"),
        (429, "is asked too often (status 429)"),
        (500, "has a failure of its own (status 500)"),
        (503, "has a failure of its own (status 503)"),
    ],
)
async def test_what_is_refused(make: Make, port: int, status: int, reason: str) -> None:
    key = f"status:{status}"
    hook = make(key)
    for where in ("entries", "checkpoints"):
        what = hook.entries(40, BATCH) if where == "entries" else hook.checkpoint(checkpoint())
        error = await refused(what, key)
        assert f"the notary service at https://localhost:{port}/v1/{where} {reason}" in str(error)
        assert error.retry_seconds == 0


@pytest.mark.parametrize("key", ["retry:413:90", "retry:429:90", "retry:503:90"])
async def test_it_is_left_alone_when_it_says_so(
    make: Make, folder: Path, port: int, key: str
) -> None:
    hook = make(key)
    clock = hook._web._clock
    assert isinstance(clock, SetClock)
    assert (await refused(hook.entries(40, BATCH), key)).retry_seconds == 90
    clock.seconds += 80
    error = await refused(hook.checkpoint(checkpoint()), key)
    assert "wants to be left alone for another 10 seconds" in str(error)
    assert error.retry_seconds == 10
    assert len(await seen(folder, port, key)) == 1
    clock.seconds += 11
    await refused(hook.entries(40, BATCH), key)
    assert len(await seen(folder, port, key)) == 2


@pytest.mark.parametrize(
    ("key", "seconds"),
    [
        # The clock of these tests says 2023-11-14T22:30:00Z.
        ("date:x", 60),
        ("retry:503:999999", 3600),
        ("retry:503:soon", 0),
        ("retry:503:-5", 0),
    ],
)
async def test_how_long_it_is_left_alone(make: Make, key: str, seconds: int) -> None:
    hook = make(key)
    assert (await refused(hook.entries(40, BATCH), key)).retry_seconds == seconds


async def test_a_batch_that_is_too_large_is_sent_in_halves(
    make: Make, folder: Path, port: int
) -> None:
    hook = make("small:2")
    await hook.entries(40, BATCH)
    asked = await seen(folder, port, "small:2")
    taken = [json.loads(one["body"]) for one in asked]
    parts = [(one["first"], len(one["entries"])) for one in taken]
    assert parts == [(40, 5), (40, 3), (40, 2), (42, 1), (43, 2)]
    keys = [one["headers"]["Idempotency-Key"] for one in asked]
    assert keys == [f"{DC_ID}/{first}+{count}" for first, count in parts]
    assert hook.entries_max == 2
    none = make("small:0")
    assert "no body that is so large" in str(await refused(none.entries(40, BATCH), "small:0"))


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("huge:x", "more than 65536 bytes"),
        ("redirect:x", "answers with a redirect (307), which is not followed"),
        ("break:x", "the connection or the answer broke"),
    ],
)
async def test_answers_that_are_none(
    make: Make, folder: Path, port: int, key: str, reason: str
) -> None:
    error = await refused(make(key).entries(40, BATCH), key)
    assert reason in str(error)
    asked = await seen(folder, port, key)
    assert [one["path"] for one in asked] == ["/v1/entries"], "the key went nowhere else"


def test_receipts_that_are_none() -> None:
    long = '{"receipt":"' + "A" * 50_000 + '"}'
    for body in ("banana", '{"receipt"', '{"receipt":"%%%%"}', '{"receipt":7}', "[]", long):
        assert service.receipt_in(body.encode()) is None
    assert service.receipt_in(b"\xff") is None
    for body in ("{}", '{"receipt":null,"other":1}', '{"receipt":""}'):
        assert service.receipt_in(body.encode()) == b""
    assert service.receipt_in(b'{"receipt":"eHl6"}') == b"xyz"


async def test_a_receipt_that_is_none_is_an_error(make: Make) -> None:
    hook = make("answer:banana")
    error = await refused(hook.checkpoint(checkpoint()), "answer:banana")
    assert "gave a receipt that is none" in str(error)
    assert await make("answer:{}").checkpoint(checkpoint()) is None


async def test_who_hangs_is_cut_off(make: Make) -> None:
    hook = make("hang:x")
    hook.seconds = 0.3
    began = time.monotonic()
    error = await refused(hook.entries(40, BATCH), "hang:x")
    assert "has not answered within 0.27 seconds" in str(error)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("ca", "dns"), [("other-root.pem", "localhost"), ("", "localhost"), ("root.pem", "127.0.0.1")]
)
async def test_who_is_somebody_else_gets_no_key(
    make: Make, folder: Path, port: int, ca: str, dns: str
) -> None:
    key = f"good:{ca}-{dns}"
    error = await refused(make(key, ca, dns).entries(40, BATCH), key)
    assert "cannot be reached" in str(error) and "CERTIFICATE_VERIFY_FAILED" in str(error)
    assert await seen(folder, port, key) == []


# -- the file -----------------------------------------------------------------------------------


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    folder, disk = tmp_path / "notary", SystemDisk()
    assert service_file.read(folder) is None
    assert service.make(settings(tmp_path, None)) is None
    given = Service(dns="notary.example.com", key="s3cret")
    service_file.write(disk, folder, given)
    path = service_file.path_of(folder)
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_bytes()) == {
        "dns": "notary.example.com",
        "key": "s3cret",
        "port": 443,
        "ca": "",
    }
    assert service_file.read(folder) == given
    assert given.url == "https://notary.example.com"
    assert "s3cret" not in repr(given) + str(given)
    path.chmod(0o640)
    with pytest.raises(NotaryRefused, match="chmod 600"):
        service_file.read(folder)
    with pytest.raises(NotaryRefused, match="mode 640"):
        service.make(settings(tmp_path, None))
    assert service_file.remove(disk, folder)
    assert not service_file.remove(disk, folder)
    assert service_file.read(folder) is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"dns": ""}, "is no DNS name"),
        ({"dns": "https://notary.example.com"}, "is no DNS name"),
        ({"dns": "notary.example.com:443"}, "its port, if it is not 443, apart"),
        ({"dns": "a/b"}, "is no DNS name"),
        ({"dns": "-a.example.com"}, "is no DNS name"),
        ({"dns": "a." * 150 + "com"}, "is no DNS name"),
        ({"port": 0}, "0 is no port"),
        ({"port": 65_536}, "65536 is no port"),
        ({"key": ""}, "the key cannot be used"),
        ({"key": "s3cret key"}, "the key cannot be used"),
        ({"key": "s3cret\r\nX: y"}, "the key cannot be used"),
        ({"key": "s3cret" * 1000}, "the key cannot be used"),
        ({"ca": "none.pem"}, "none.pem cannot be used as CAs"),
    ],
)
def test_what_cannot_be_set(tmp_path: Path, given: dict[str, Any], reason: str) -> None:
    whole = Service(**{"dns": "notary.example.com", "key": "s3cret", **given})
    with pytest.raises(NotaryRefused) as caught:
        service_file.write(SystemDisk(), tmp_path / "notary", whole)
    assert reason in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert not (tmp_path / "notary/service.json").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("s3cret", "JSON is malformed"),
        ("{}", "missing required field `dns`"),
        ('{"dns":"notary.example.com"}', "missing required field `key`"),
        ('{"dns":"a.example.com","key":"k","s3cret":1}', "a field that is unknown"),
        ('{"dns":"a b","key":"s3cret"}', "is no DNS name"),
        ('{"dns":"a","key":"s3cret","port":"x"}', "Expected `int`"),
    ],
)
def test_a_file_that_is_damaged(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "notary").mkdir()
    path = service_file.path_of(tmp_path / "notary")
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(NotaryRefused) as caught:
        service.make(settings(tmp_path, None))
    assert reason in str(caught.value)
    assert "service.json cannot be used" in str(caught.value)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)


def test_there_are_no_options(tmp_path: Path) -> None:
    assert service.make(settings(tmp_path, {})) is None
    with pytest.raises(NotaryRefused, match="unknown field `key`"):
        service.make(settings(tmp_path, {"key": "s3cret"}))


def test_who_verifies_needs_no_service(tmp_path: Path) -> None:
    hook = service.make(settings(tmp_path, None, to_explain=True))
    assert hook is not None
    assert "the service can say what it shows" in hook.explain("", ROOT, b"x")
