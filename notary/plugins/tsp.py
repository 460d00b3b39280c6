"""Timestamps of RFC 3161: the request, and what an answer is worth.

An answer is kept as it came, a TimeStampResp in DER: `openssl ts -verify -in` reads the same. It is
of the SHA-256 of a checkpoint's body.

Source: RFC 3161, 2.4.1 (request), 2.4.2 (answer), 2.3 (the authority's certificate).
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import PKIStatus, TimeStampResponse, VerificationError, VerifierBuilder
from rfc3161_client import decode_timestamp_response as decode

from notary.plugins import cms

RESPONSE_BYTES_MAX = 64 << 10
NONCE_BYTES = 8
_REQUEST = bytes.fromhex("3043 020101 3031 300d06096086480165030402010500 0420")
"""Version 1; SHA-256, of which the 32 bytes come; then the nonce, and that a certificate is wanted.
All of it has 69 bytes."""
_SHA256 = "2.16.840.1.101.3.4.2.1"
_STATUS_NAMES = {one.value: one.name.lower().replace("_", " ") for one in PKIStatus}
_NAME_CHARACTERS_MAX = 200

Roots = Sequence[x509.Certificate]


class Stamped(NamedTuple):
    """What a timestamp shows."""

    who: str
    """The authority, as its certificate names it."""
    when: datetime
    """UTC."""
    serial: int
    untrusted: str
    """Why it is not under the roots; empty when it is, or when there are none."""


def nonce_of(chance: bytes) -> int:
    """A nonce of 63 bits at most that takes 8 bytes in DER, made of 8 random ones."""
    return int.from_bytes(chance, "big") & ((1 << 63) - 1) | (1 << 62)


def request(body: str, nonce: int) -> bytes:
    """A TimeStampReq."""
    digest = hashlib.sha256(body.encode()).digest()
    return _REQUEST + digest + b"\x02\x08" + nonce.to_bytes(NONCE_BYTES, "big") + b"\x01\x01\xff"


def read_roots(data: bytes) -> list[x509.Certificate]:
    """Of a PEM file. ValueError."""
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise ValueError("there is no certificate in it, in PEM, or one is damaged") from None


def checked(data: bytes, body: str, nonce: int, roots: Roots) -> Stamped:
    """What an answer shows that was asked for with that nonce. ValueError for any that is not of
    that body and request, or, when roots are given, not under them."""
    found = shown(data, body, roots, nonce)
    if found.untrusted:
        raise ValueError(f"it is not under the certificates that are trusted: {found.untrusted}")
    return found


def shown(data: bytes, body: str, roots: Roots, nonce: int | None = None) -> Stamped:
    """What a timestamp shows. ValueError when it is not of that body, or damaged."""
    if len(data) > RESPONSE_BYTES_MAX:
        raise ValueError("it is too long for a timestamp")
    try:
        return _shown(data, body, roots, nonce)
    except ValueError:
        raise
    except Exception as error:
        # The libraries have many for what is damaged.
        raise ValueError(f"it is damaged ({type(error).__name__})") from None


def _shown(data: bytes, body: str, roots: Roots, nonce: int | None) -> Stamped:
    response = _decoded(data)
    imprint = response.tst_info.message_imprint
    digest = hashlib.sha256(body.encode()).digest()
    if imprint.hash_algorithm.dotted_string != _SHA256 or imprint.message != digest:
        raise ValueError("it is of something else")
    if nonce is not None and response.tst_info.nonce != nonce:
        raise ValueError("it answers another request: its nonce is not the one that was sent")
    certificate = _signer(response)
    cms.check_signature(data, certificate)
    check_purpose(certificate, response.tst_info.gen_time)
    untrusted = _distrust(response, digest, roots) if roots else ""
    info = response.tst_info
    return Stamped(_name(certificate.subject), info.gen_time, info.serial_number, untrusted)


def check_purpose(certificate: x509.Certificate, when: datetime) -> None:
    """That a certificate may sign timestamps, and could then. ValueError."""
    if not certificate.not_valid_before_utc <= when <= certificate.not_valid_after_utc:
        raise ValueError("its certificate was not valid at the time that it says")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        raise ValueError("its certificate is not for timestamps") from None
    if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise ValueError("its certificate is not for timestamps alone")


def _decoded(data: bytes) -> TimeStampResponse:
    """A response that grants. ValueError."""
    try:
        response = decode(cms.ordered(data))
    except ValueError as error:
        status = _status(data)
        if status in (None, PKIStatus.GRANTED):
            raise ValueError(f"it is no timestamp response: {error}") from None
    else:
        status = response.status
        if status == PKIStatus.GRANTED:
            return response
    raise ValueError(f"the request was not granted: {_STATUS_NAMES.get(status or 0, status)}")


def _status(data: bytes) -> int | None:
    """The status of a response that holds no timestamp; None when it is no response."""
    try:
        return decode(data).status
    except ValueError:
        return None


def _signer(response: TimeStampResponse) -> x509.Certificate:
    """The certificate in it that it says it is signed with."""
    signers = list(response.signed_data.signer_infos)
    for each in response.signed_data.certificates:
        certificate = x509.load_der_x509_certificate(each)
        if (certificate.issuer, certificate.serial_number) == (
            signers[0].issuer,
            signers[0].serial_number,
        ):
            return certificate
    raise ValueError("the certificate that it is signed with is not in it")


def _distrust(response: TimeStampResponse, digest: bytes, roots: Roots) -> str:
    """Why it is not under the roots; empty when it is."""
    verifier = VerifierBuilder(roots=list(roots)).build()
    try:
        verifier.verify(response, digest)
    except (VerificationError, ValueError) as error:
        _, _, reason = str(error).rpartition("Verify error: ")
        return reason.partition('"')[0][:_NAME_CHARACTERS_MAX]
    return ""


def _name(name: x509.Name) -> str:
    text = name.rfc4514_string()[:_NAME_CHARACTERS_MAX]
    return "".join(each if each.isprintable() else "?" for each in text)
