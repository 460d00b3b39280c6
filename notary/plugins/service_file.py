"""DIR/notary/service.json: which notary service is told, and with which key.

It is a file of its own, as nothing in farshore.toml is secret, and nobody but its owner may read
it. It is read when the datacenter starts.
"""

import re
import ssl
import stat
from pathlib import Path

import msgspec

from dc.ports import Disk
from notary.errors import NotaryRefused

FILE = "service.json"
MODE = 0o600
FILE_BYTES_MAX = 64 << 10
KEY_CHARACTERS_MAX = 4096
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DNS = re.compile(rf"{_LABEL}(\.{_LABEL})*", re.ASCII | re.IGNORECASE)
_KEY = re.compile(r"[!-~]+", re.ASCII)


class Service(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    dns: str
    key: str
    port: int = 443
    ca: str = ""
    """A PEM file with the only CAs that its certificate may be under; relative to DIR. Empty: those
    that the system trusts."""

    def __repr__(self) -> str:
        return f"Service(dns={self.dns!r}, port={self.port}, ca={self.ca!r})"

    @property
    def url(self) -> str:
        port = "" if self.port == 443 else f":{self.port}"
        return f"https://{self.dns}{port}"


def check(service: Service) -> None:
    """NotaryRefused for what cannot be used. The key is not in the text."""
    dns = service.dns
    if not _DNS.fullmatch(dns) or len(dns) > 253:
        raise NotaryRefused(
            f"{dns[:80]!r} is no DNS name: give the service's name alone, as notary.example.com;"
            " its port, if it is not 443, apart from that"
        )
    if not 1 <= service.port <= 65_535:
        raise NotaryRefused(f"{service.port} is no port: 1 to 65535")
    if not _KEY.fullmatch(service.key) or len(service.key) > KEY_CHARACTERS_MAX:
        raise NotaryRefused(
            f"the key cannot be used: it is to have 1 to {KEY_CHARACTERS_MAX} printable ASCII"
            " characters, and no spaces"
        )
    if not service.ca.isprintable():
        raise NotaryRefused(f"{service.ca[:80]!r} is no file")


def check_all(folder: Path, service: Service) -> None:
    """With its file of CAs. Blocks: call it in `Disk.run`. NotaryRefused."""
    check(service)
    tls(folder, service)


def path_of(folder: Path) -> Path:
    """`folder`: DIR/notary."""
    return folder / FILE


def read(folder: Path) -> Service | None:
    """What is set; None when nothing is. NotaryRefused, also for a file that others may read."""
    path = path_of(folder)
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotaryRefused(f"{path} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise NotaryRefused(
            f"{path} has a key in it, and its mode {mode:03o} lets others have it: chmod 600"
            f" {path}, and have the service give you another key if somebody may have read it"
        )
    reason = ""
    try:
        service = msgspec.json.decode(data, type=Service)
        check(service)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # Which field is unknown is not said: it may be the key that is in the wrong place.
        said = str(error) if isinstance(error, msgspec.MsgspecError) else "it is no JSON"
        reason = "it has a field that is unknown" if "unknown field" in said else said
    except NotaryRefused as error:
        reason = str(error)
    if reason:
        raise NotaryRefused(f"{path} cannot be used: {reason}: `farshore notary service set` again")
    return service


def write(disk: Disk, folder: Path, service: Service) -> None:
    """Set it, durably. Blocks: call it in `Disk.run`. NotaryRefused, OSError."""
    check_all(folder, service)
    disk.make_dirs(folder, 0o700)
    data = msgspec.json.format(msgspec.json.encode(service), indent=1) + b"\n"
    disk.write_atomic(path_of(folder), data, MODE)


def remove(disk: Disk, folder: Path) -> bool:
    """Whether there was one. Blocks: call it in `Disk.run`. OSError."""
    try:
        disk.remove(path_of(folder))
    except FileNotFoundError:
        return False
    disk.sync_dir(folder)
    return True


def tls(folder: Path, service: Service) -> ssl.SSLContext:
    """What the service's certificate is verified with. NotaryRefused."""
    path = folder.parent / service.ca if service.ca else None
    try:
        context = ssl.create_default_context(cafile=path)
    except OSError as error:
        raise NotaryRefused(f"{path} cannot be used as CAs in PEM: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
