"""Where a DC is: its name, its region, the addresses of its peer listener, its certificate.

An endpoint is `host:port`: a DNS name, an IPv4 address, or an IPv6 address in brackets. Peers
connect to what stands here, so what a resolver might read in two ways is refused: a last label
that is a number (`1.2.3`, `0x7f000001`), zone ids, leading zeros, and the addresses that nobody
can be reached at (unspecified, multicast).
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tokens.errors import PlaceInvalid
from tokens.limits import ENDPOINTS_MAX, HOST_CHARACTERS_MAX, NAME_CHARACTERS_MAX

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_FINGERPRINT = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Endpoint(NamedTuple):
    """A host as a socket takes it (IPv6 without brackets) and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Place:
    """Checked on creation: PlaceInvalid says which part cannot be used."""

    name: str
    region: str
    endpoints: tuple[str, ...]
    fingerprint: str

    def __post_init__(self) -> None:
        _check_name("name", self.name)
        _check_name("region", self.region)
        check_endpoints(self.endpoints)
        if not _FINGERPRINT.fullmatch(self.fingerprint):
            raise PlaceInvalid("a certificate's fingerprint is 64 lowercase hex characters")


def check_endpoints(endpoints: Sequence[str]) -> None:
    """PlaceInvalid when a DC cannot have these."""
    if not 1 <= len(endpoints) <= ENDPOINTS_MAX:
        raise PlaceInvalid(f"a DC has 1 to {ENDPOINTS_MAX} endpoints, not {len(endpoints)}")
    for endpoint in endpoints:
        parse_endpoint(endpoint)
    if len(set(endpoints)) != len(endpoints):
        raise PlaceInvalid("an endpoint is listed twice; list each once")


def parse_endpoint(text: str) -> Endpoint:
    """Host and port of `host:port`; PlaceInvalid for anything else."""
    host, colon, port = text.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > 65_535:
        raise _bad_endpoint(text, "the port is a number from 1 to 65535 after the last colon")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if "%" in host or ":" not in host:
            raise _bad_endpoint(text, "brackets hold an IPv6 address without a zone")
        return Endpoint(_checked_address(text, host), int(port))
    last_label = host.rpartition(".")[2]
    if _NUMBER.fullmatch(last_label):
        if ":" in host:
            raise _bad_endpoint(text, "an IPv6 address stands in brackets")
        return Endpoint(_checked_address(text, host), int(port))
    labels = host.split(".")
    if len(host) > HOST_CHARACTERS_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise _bad_endpoint(text, "the host is a DNS name or an address")
    return Endpoint(host, int(port))


def _checked_address(text: str, host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise _bad_endpoint(text, "the host is not a valid address") from None
    if address.is_unspecified or address.is_multicast:
        raise _bad_endpoint(text, "nobody can be reached at this address")
    return host


def _check_name(what: str, value: str) -> None:
    if len(value) > NAME_CHARACTERS_MAX or not _NAME.fullmatch(value):
        raise PlaceInvalid(
            f"a DC's {what} is 1 to {NAME_CHARACTERS_MAX} letters, digits, dots, hyphens and"
            f" underscores, starting with a letter or digit, not {value[:80]!r}"
        )


def _bad_endpoint(text: str, why: str) -> PlaceInvalid:
    return PlaceInvalid(f"{text[:80]!r} is not a usable endpoint (host:port): {why}")
