"""For tests of plug-ins: settings, checkpoints, a clock that is set, servers that are processes."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dc.system import SystemRandomness
from notary.entries import Entry
from notary.hooks import Settings
from notary.note import Checkpoint, Signature, origin_of

DC_ID = "dc-of-tests"
ROOT = bytes(range(32))


class SetClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("no plug-in sleeps")


def settings(folder: Path, options: dict[str, Any] | None, *, to_explain: bool = False) -> Settings:
    """`folder`: DIR."""
    clock, chance = SetClock(), SystemRandomness()
    return Settings(options, folder / "notary", "paris", DC_ID, clock, chance, to_explain)


def checkpoint(size: int = 7, root: bytes = ROOT) -> Checkpoint:
    """Its signature is none: no plug-in looks at it."""
    origin = origin_of(DC_ID)
    return Checkpoint(origin, size, root, (Signature(origin, b"abcd", bytes(64)),))


def entry(number: int) -> Entry:
    return Entry(
        v=1,
        type="version",
        dc="paris",
        dc_id=DC_ID,
        bucket="photos",
        bucket_id="b1",
        key=f"kéy/<{number}>",
        version_id="null",
        stamp=f"{number:032x}",
        size=number,
        sha256="ab" * 32,
        of="object",
        time="2023-11-14T22:13:20.000Z",
    )


@contextmanager
def served(script: str, *arguments: str | Path) -> Iterator[int]:
    """The port of a server: one of the scripts beside this file, in a process of its own, that
    says its port in its first line."""
    command = [sys.executable, str(Path(__file__).with_name(script)), *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


async def all_closed() -> None:
    """Wait until the sockets of this test's loop are: TLS says goodbye for a while after a close,
    and a loop that ends before that leaves them open."""
    selector: Any = asyncio.get_running_loop()
    for _ in range(500):
        if len(selector._selector.get_map()) <= 1:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("connections stay open after their end")


def openssl(folder: Path, *arguments: str) -> None:
    command = ["openssl", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


CNF = """
[req]
distinguished_name = dn
[dn]
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[stamps]
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[web]
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,serverAuth
subjectAltName = DNS:localhost
[mail]
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping,emailProtection
"""
_EC = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
_RSA = ("rsa:2048",)


def make_ca(folder: Path, name: str) -> None:
    """NAME.pem and NAME.key."""
    (folder / "openssl.cnf").write_text(CNF)
    given = ("-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "3650")
    subject = ("-subj", f"/O=Tests/CN={name}", "-config", "openssl.cnf", "-extensions", "ca")
    openssl(folder, "req", "-x509", "-newkey", *_EC, *given, *subject)


def make_certificate(folder: Path, ca: str, name: str, use: str, *, rsa: bool = False) -> None:
    """NAME.pem and NAME.key, under the CA; `use`: a section of `CNF`."""
    kind = _RSA if rsa else _EC
    given = ("-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-config", "openssl.cnf")
    openssl(folder, "req", "-newkey", *kind, *given, "-subj", f"/O=Tests/CN={name}")
    under = ("-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", "3650")
    ends = ("-extfile", "openssl.cnf", "-extensions", use)
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *under, *ends)
