"""RFC 3161 against a real authority, OpenSSL's, in a process of its own."""

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from plugin_kit import (
    ROOT,
    SetClock,
    all_closed,
    checkpoint,
    make_ca,
    make_certificate,
    openssl,
    served,
    settings,
)
from rfc3161_client import _rust, decode_timestamp_response

from notary.errors import HookFailed, NotaryRefused
from notary.plugins import cms, rfc3161, tsp
from notary.plugins.rfc3161 import Rfc3161

BODY = checkpoint().body
Make = Callable[..., Rfc3161]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DIR, with CAs and authorities."""
    path = tmp_path_factory.mktemp("tsa")
    make_ca(path, "root")
    make_ca(path, "other-root")
    make_certificate(path, "root", "tsa", "stamps")
    make_certificate(path, "other-root", "other", "stamps", rsa=True)
    make_certificate(path, "root", "mail", "mail")
    root, tsa = (path / "root.pem").read_text(), (path / "tsa.pem").read_text()
    # OpenSSL writes the signer first, then these: in one of two orders, DER's or not.
    (path / "tsa-chain.pem").write_text(root)
    (path / "both.pem").write_text(root + (path / "other-root.pem").read_text())
    assert tsa
    return path


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    with served("tsa_server.py", folder) as found:
        yield found


@pytest_asyncio.fixture
async def make(folder: Path, port: int) -> AsyncIterator[Make]:
    made = []

    def one(path: str, roots: str = "") -> Rfc3161:
        options = {"url": f"http://127.0.0.1:{port}/{path}", "certificates": roots}
        hook = rfc3161.make(settings(folder, options))
        assert hook is not None
        made.append(hook)
        return hook

    yield one
    for hook in made:
        await hook.close()
    await all_closed()


def said(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


async def stamp(hook: Rfc3161) -> bytes:
    found = await hook.checkpoint(checkpoint())
    assert found is not None
    return found


async def refused(what: Awaitable[Any]) -> str:
    with pytest.raises(HookFailed) as caught:
        await what
    return str(caught.value)


async def test_a_timestamp_is_verified_against_the_roots(make: Make) -> None:
    hook = make("tsa/good", "root.pem")
    text = hook.explain(BODY, ROOT, await stamp(hook))
    assert "verified against the roots that are trusted" in text
    assert "CN=tsa,O=Tests" in text
    assert time.strftime("stamped at %Y-", time.gmtime()) in text
    assert hook.is_final(b"")


async def test_openssl_verifies_what_is_kept(make: Make, folder: Path) -> None:
    data = await stamp(make("tsa/good", "root.pem"))
    (folder / "kept.tsr").write_bytes(data)
    (folder / "body").write_text(BODY)
    command = ["openssl", "ts", "-verify", "-in", "kept.tsr", "-data", "body", "-CAfile"]
    assert "Verification: OK" in said(folder, *command, "root.pem")


@pytest.mark.parametrize("path", ["tsa/good", "tsa/chain", "tsa/old-ess", "other/good"])
async def test_without_roots_it_is_verified_in_itself(make: Make, path: str) -> None:
    hook = make(path)
    assert "verified only in itself" in hook.explain(BODY, ROOT, await stamp(hook))


@pytest.mark.parametrize(
    ("path", "roots"),
    [("tsa/chain", "root.pem"), ("tsa/old-ess", "both.pem"), ("other/good", "both.pem")],
)
async def test_all_kinds_of_tokens_under_roots(make: Make, path: str, roots: str) -> None:
    hook = make(path, roots)
    assert "verified against the roots" in hook.explain(BODY, ROOT, await stamp(hook))


async def test_both_orders_of_certificates_are_taken(make: Make) -> None:
    """DER sorts sets, the library insists, OpenSSL does not: one of two orders is not sorted."""
    data = await stamp(make("tsa/chain", "root.pem"))
    held = decode_timestamp_response(cms.ordered(data)).signed_data.certificates
    first, second = sorted(held)
    assert len(held) == 2
    assert (first + second in data) != (second + first in data)
    for order in (first + second, second + first):
        turned = data.replace(first + second, order).replace(second + first, order)
        assert "against the roots" in make("tsa/chain", "root.pem").explain(BODY, ROOT, turned)


async def test_an_authority_under_another_root_is_refused(make: Make) -> None:
    text = await refused(stamp(make("other/good", "root.pem")))
    assert "not under the certificates that are trusted" in text
    assert "unable to get local issuer certificate" in text


async def test_a_kept_timestamp_under_another_root_is_said_to_be(make: Make) -> None:
    data = await stamp(make("other/good"))
    with pytest.raises(ValueError, match=r"CN=other,.*not under the roots that are trusted"):
        make("tsa/good", "root.pem").explain(BODY, ROOT, data)


@pytest.mark.parametrize("roots", ["", "root.pem"])
async def test_a_timestamp_of_something_else_is_refused(make: Make, roots: str) -> None:
    assert "it is of something else" in await refused(stamp(make("tsa/wrong-imprint", roots)))


@pytest.mark.parametrize("roots", ["", "root.pem"])
async def test_an_old_answer_is_refused(make: Make, roots: str) -> None:
    hook = make("tsa/replay", roots)
    await make("tsa/good").checkpoint(checkpoint())
    assert "its nonce is not the one that was sent" in await refused(stamp(hook))


def test_the_certificate_is_to_be_for_timestamps_and_valid_then(folder: Path) -> None:
    def check(name: str, year: int = 0) -> None:
        certificate = tsp.read_roots((folder / f"{name}.pem").read_bytes())[0]
        when = certificate.not_valid_before_utc + timedelta(days=365 * year + 1)
        tsp.check_purpose(certificate, when)

    check("tsa")
    for name, year, reason in (
        ("mail", 0, "not for timestamps alone"),
        ("root", 0, "not for timestamps"),
        ("tsa", -1, "not valid at the time"),
        ("tsa", 11, "not valid at the time"),
    ):
        with pytest.raises(ValueError, match=reason):
            check(name, year)


def signed_with(folder: Path, response: bytes, name: str, kind: str) -> bytes:
    """A response with the timestamp of another one, signed as content of that kind with the key of
    NAME, by OpenSSL as plain CMS: it looks at no purpose."""
    parts = cms.read_signed(response)
    (folder / "info").write_bytes(parts.content)
    given = f"-signer {name}.pem -inkey {name}.key -econtent_type {kind} -in info -out token"
    fixed = "-nodetach -nosmimecap -cades -binary -outform DER"
    openssl(folder, "cms", "-sign", *given.split(), *fixed.split())
    whole = bytes.fromhex("3003020100") + (folder / "token").read_bytes()
    return b"\x30\x82" + len(whole).to_bytes(2, "big") + whole


async def test_who_signs_is_an_authority(make: Make, folder: Path) -> None:
    """The signature is good, and the certificate under the root; it is for mail, too."""
    data, kind = await stamp(make("tsa/good")), "1.2.840.113549.1.9.16.1.4"
    for roots in ("", "root.pem"):
        hook = make("tsa/good", roots)
        assert "CN=tsa," in hook.explain(BODY, ROOT, signed_with(folder, data, "tsa", kind))
        with pytest.raises(ValueError, match="not for timestamps alone"):
            hook.explain(BODY, ROOT, signed_with(folder, data, "mail", kind))
        # Signed as something else, and called a timestamp where that is not under the signature.
        other = signed_with(folder, data, "tsa", "1.2.840.113549.1.9.16.1.9")
        with pytest.raises(ValueError, match="no timestamp"):
            hook.explain(BODY, ROOT, other)
        oid = bytes.fromhex("2a864886f70d0109100109")
        with pytest.raises(ValueError, match="what is signed is no timestamp"):
            hook.explain(BODY, ROOT, other.replace(oid, oid[:-1] + b"\x04", 1))


async def test_forged_parts_are_named(make: Make, folder: Path) -> None:
    """Each is found with and without roots."""
    data = await stamp(make("tsa/good"))
    year = time.strftime("%Y", time.gmtime()).encode()
    time_at = data.index(b"\x18\x0f" + year) + 2
    certificate = tsp.read_roots((folder / "tsa.pem").read_bytes())[0]
    other = tsp.read_roots((folder / "mail.pem").read_bytes())[0]
    assert certificate.serial_number != other.serial_number
    for changed, reason in (
        (data[:time_at] + b"2029" + data[time_at + 4 :], "content is not what was signed"),
        (data[:-1] + bytes([data[-1] ^ 1]), "signature is false"),
        (data.replace(b"\x02\x01\x00", b"\x02\x01\x01", 1), "not granted: granted with mods"),
    ):
        for roots in ("", "root.pem"):
            with pytest.raises(ValueError, match=reason):
                make("tsa/good", roots).explain(BODY, ROOT, changed)
    with pytest.raises(ValueError, match="names another certificate"):
        cms.check_signature(data, other)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("tsa/rejected", "not granted: rejection"),
        ("tsa/garbage", "no timestamp response"),
        ("tsa/empty", "no timestamp response"),
        ("tsa/huge", "more than 65536 bytes"),
        ("tsa/redirect", "redirect (302), which is not followed"),
        ("tsa/404", "status 404"),
        ("tsa/500", "status 500"),
    ],
)
async def test_answers_that_are_none(make: Make, path: str, reason: str) -> None:
    text = await refused(stamp(make(path)))
    assert reason in text
    assert text.startswith("the timestamping authority at http://127.0.0.1:")


@pytest.mark.parametrize("mode", ["hang", "trickle"])
async def test_who_does_not_answer_is_cut_off(make: Make, mode: str) -> None:
    hook = make(f"tsa/{mode}")
    hook.seconds = 0.3
    began = time.monotonic()
    assert "has not answered within 0.27 seconds" in await refused(stamp(hook))
    assert time.monotonic() - began < 10


async def test_nobody_there(folder: Path) -> None:
    hook = rfc3161.make(settings(folder, {"url": "http://127.0.0.1:9/"}))
    assert hook is not None
    assert "cannot be reached" in await refused(stamp(hook))
    await hook.close()


async def test_who_wants_to_be_left_alone_is(folder: Path, port: int) -> None:
    given = settings(folder, {"url": f"http://127.0.0.1:{port}/tsa/503"})
    clock = given.clock
    assert isinstance(clock, SetClock)
    hook = rfc3161.make(given)
    assert hook is not None
    with pytest.raises(HookFailed, match="status 503") as caught:
        await stamp(hook)
    assert caught.value.retry_seconds == 120
    clock.seconds += 100
    with pytest.raises(HookFailed, match="another 20 seconds") as caught:
        await stamp(hook)
    assert caught.value.retry_seconds == 20
    clock.seconds += 21
    assert "status 503" in await refused(stamp(hook))
    await hook.close()


async def test_damage_is_found(make: Make) -> None:
    """Any byte may be another: there is an explanation or a ValueError, and nothing else; and in
    what is signed there is none that is not found."""
    data = await stamp(make("tsa/good"))
    hook = make("tsa/good", "root.pem")
    signed = data.index(b"\x04\x20") + 2
    found = set()
    for at in range(0, len(data), 3):
        changed = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
        try:
            text = hook.explain(BODY, ROOT, changed)
        except ValueError as error:
            assert str(error)
            found.add(at)
        else:
            assert at < signed - 60 or "against the roots" in text
    inside = {at for at in range(signed, signed + 70) if at % 3 == 0}
    assert inside <= found
    assert len(found) > len(data) // 3 * 0.9
    for end in range(0, len(data), 50):
        with pytest.raises(ValueError):
            hook.explain(BODY, ROOT, data[:end])


async def test_of_another_body_nothing_is_explained(make: Make) -> None:
    hook = make("tsa/good")
    data = await stamp(hook)
    with pytest.raises(ValueError, match="something else"):
        hook.explain(checkpoint(size=8).body, ROOT, data)


async def test_who_verifies_needs_no_authority(make: Make, folder: Path) -> None:
    data = await stamp(make("tsa/good"))
    for options in (None, {}):
        hook = rfc3161.make(settings(folder, options, to_explain=True))
        assert hook is not None
        assert "only in itself" in hook.explain(BODY, ROOT, data)
    hook = rfc3161.make(settings(folder, {"certificates": "root.pem"}, to_explain=True))
    assert hook is not None
    assert "against the roots" in hook.explain(BODY, ROOT, data)


def test_options(folder: Path) -> None:
    url = "https://tsa.example.com/tsr"
    assert rfc3161.make(settings(folder, None)) is None
    hook = rfc3161.make(settings(folder, {"url": url}))
    assert hook is not None and hook.checkpoint_seconds == 3600
    hook = rfc3161.make(settings(folder, {"url": url, "every": "5m"}))
    assert hook is not None and hook.checkpoint_seconds == 300
    (folder / "empty.pem").write_text("")
    for options, reason in (
        ({}, "notary.hooks.rfc3161.url: '' is no URL"),
        ({"url": "ftp://tsa.example.com"}, "is no URL"),
        ({"url": "https:///tsr"}, "is no URL"),
        ({"url": "https://tsa.example.com/a b"}, "is no URL"),
        ({"url": "https://me:secret@tsa.example.com"}, "nothing in this file is secret"),
        ({"url": 7}, "Expected `str`"),
        ({"url": url, "evry": "1h"}, "unknown field `evry`; allowed here: url, every, cert"),
        ({"url": url, "every": "often"}, "notary.hooks.rfc3161.every: 'often' is no duration"),
        ({"url": url, "every": "0s"}, "must be from 1s to 30d"),
        ({"url": url, "certificates": "none.pem"}, "none.pem cannot be used"),
        ({"url": url, "certificates": "empty.pem"}, "no certificate in it"),
    ):
        with pytest.raises(NotaryRefused) as caught:
            rfc3161.make(settings(folder, options))
        assert reason in str(caught.value)
        assert "secret@" not in str(caught.value)


def test_libraries_are_loaded_when_they_are_used() -> None:
    program = """
import sys
from pathlib import Path
from notary.hooks import Settings
from notary.plugins import opentimestamps, rfc3161, service
given = Settings(None, Path('/nowhere/notary'), 'paris', 'x', None, None)
assert [one.make(given) for one in (rfc3161, opentimestamps, service)] == [None] * 3
print(sorted({'rfc3161_client', 'opentimestamps', 'cryptography', 'bitcoin'} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_the_request_is_one(folder: Path) -> None:
    for chance in (bytes(8), b"\xff" * 8):
        nonce = tsp.nonce_of(chance)
        data = tsp.request(BODY, nonce)
        found = _rust.parse_timestamp_request(data)
        assert found.nonce == nonce and found.cert_req and found.version == 1
        (folder / "q").write_bytes(data)
        text = said(folder, "openssl", "ts", "-query", "-in", "q", "-text")
        assert f"Nonce: 0x{nonce:X}" in text
        assert "Certificate required: yes" in text
