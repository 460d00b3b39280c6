"""What is in a timestamp response, read from its DER, and whether its signature holds in itself.

The library that verifies timestamps (rfc3161-client) verifies them against roots only, and takes
no token whose certificates are not in the order that DER has for sets, which OpenSSL's authorities
write as they please. So here is a reader that knows just what these two take: `ordered` sorts the
certificates, which are not under the signature, and `check_signature` verifies with the certificate
that the token brings along.

Source: RFC 3161, 2.4.2; RFC 5652, 5.1 to 5.6 and 11; RFC 5035, 3 (which certificate signed).
"""

import hashlib
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

_INTEGER, _OCTETS, _OID, _SEQUENCE, _SET = 0x02, 0x04, 0x06, 0x30, 0x31
_TAGGED_0, _TAGGED_1 = 0xA0, 0xA1
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_TST_INFO = bytes.fromhex("2a864886f70d0109100104")
_CONTENT_TYPE = bytes.fromhex("2a864886f70d010903")
_DIGEST = bytes.fromhex("2a864886f70d010904")
_SIGNED_BY = bytes.fromhex("2a864886f70d010910020c")
_SIGNED_BY_V2 = bytes.fromhex("2a864886f70d010910022f")
_PSS = bytes.fromhex("2a864886f70d01010a")
_HASHES: dict[bytes, hashes.HashAlgorithm] = {
    bytes.fromhex("608648016503040201"): hashes.SHA256(),
    bytes.fromhex("608648016503040202"): hashes.SHA384(),
    bytes.fromhex("608648016503040203"): hashes.SHA512(),
    # As parts of signature algorithms: of RSA, of ECDSA.
    bytes.fromhex("2a864886f70d01010b"): hashes.SHA256(),
    bytes.fromhex("2a864886f70d01010c"): hashes.SHA384(),
    bytes.fromhex("2a864886f70d01010d"): hashes.SHA512(),
    bytes.fromhex("2a8648ce3d040302"): hashes.SHA256(),
    bytes.fromhex("2a8648ce3d040303"): hashes.SHA384(),
    bytes.fromhex("2a8648ce3d040304"): hashes.SHA512(),
}


class _Element(NamedTuple):
    """Where an element is: its tag, where it begins, where its content does, and its end."""

    tag: int
    start: int
    body: int
    end: int


class _Der:
    """DER, as far as it is needed. Every call: ValueError."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def whole(self) -> _Element:
        """The one element that is all of it."""
        found = self._element(0, len(self.data))
        if found.end != len(self.data):
            raise ValueError("there are bytes behind its end")
        return found

    def inside(self, outer: _Element, tag: int) -> list[_Element]:
        """The elements in an element, which is to have that tag."""
        if outer.tag != tag:
            raise ValueError(f"there is a tag {outer.tag:#x} where {tag:#x} is to be")
        found, at = [], outer.body
        while at < outer.end:
            found.append(self._element(at, outer.end))
            at = found[-1].end
        return found

    def content(self, element: _Element) -> bytes:
        return self.data[element.body : element.end]

    def raw(self, element: _Element) -> bytes:
        return self.data[element.start : element.end]

    def _element(self, at: int, end: int) -> _Element:
        if at + 2 > end or self.data[at] & 0x1F == 0x1F:
            raise ValueError("an element is cut off, or has a tag that is not known")
        body, length = at + 2, self.data[at + 1]
        if length & 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4:
                raise ValueError("an element has no definite length")
            body += count
            length = int.from_bytes(self.data[at + 2 : body], "big")
        if body + length > end:
            raise ValueError("an element is cut off")
        return _Element(self.data[at], at, body, body + length)


class Signed(NamedTuple):
    """What is of interest in a SignedData."""

    der: _Der
    content: bytes
    certificates: _Element | None
    signer: list[_Element]


def read_signed(response: bytes) -> Signed:
    """The parts of a response that holds a token. ValueError."""
    der = _Der(response)
    parts = der.inside(der.whole(), _SEQUENCE)
    if len(parts) != 2:
        raise ValueError("it holds no token")
    info = der.inside(parts[1], _SEQUENCE)
    if len(info) != 2 or der.content(info[0]) != _SIGNED_DATA:
        raise ValueError("its token is not signed")
    fields = der.inside(der.inside(info[1], _TAGGED_0)[0], _SEQUENCE)
    if len(fields) < 4:
        raise ValueError("its token is cut off")
    encapsulated = der.inside(fields[2], _SEQUENCE)
    if len(encapsulated) != 2 or der.content(encapsulated[0]) != _TST_INFO:
        raise ValueError("what is signed is no timestamp")
    octets = der.inside(encapsulated[1], _TAGGED_0)
    signers = der.inside(fields[-1], _SET)
    if len(octets) != 1 or octets[0].tag != _OCTETS or len(signers) != 1:
        raise ValueError("its token has not one content and one signer")
    certificates = fields[3] if fields[3].tag == _TAGGED_0 else None
    return Signed(der, der.content(octets[0]), certificates, der.inside(signers[0], _SEQUENCE))


def ordered(response: bytes) -> bytes:
    """The same response with its certificates in DER's order. ValueError for what is none, or
    holds no token."""
    signed = read_signed(response)
    if signed.certificates is None:
        return response
    each = signed.der.inside(signed.certificates, _TAGGED_0)
    together = b"".join(sorted(signed.der.raw(one) for one in each))
    return response[: signed.certificates.body] + together + response[signed.certificates.end :]


def check_signature(response: bytes, certificate: Certificate) -> None:
    """That a response's token is signed with the key of a certificate, over just its content, and
    names that certificate in what is signed. ValueError."""
    der, content, _, signer = read_signed(response)
    if len(signer) < 6 or signer[3].tag != _TAGGED_0:
        raise ValueError("the token has no signed attributes")
    digest = _hash(der, signer[2])
    attributes = _attributes(der, signer[3])
    if attributes.get(_CONTENT_TYPE, b"")[2:] != _TST_INFO:
        raise ValueError("what is signed is no timestamp")
    if attributes.get(_DIGEST, b"")[2:] != hashlib.new(digest.name, content).digest():
        raise ValueError("its content is not what was signed")
    _check_named(attributes, certificate)
    algorithm = der.content(der.inside(signer[4], _SEQUENCE)[0])
    # They are signed as the set that they are, not as the field of a structure.
    text = bytes([_SET]) + der.raw(signer[3])[1:]
    if signer[5].tag != _OCTETS:
        raise ValueError("there is no signature")
    try:
        _verify(certificate, der.content(signer[5]), text, algorithm, digest)
    except InvalidSignature:
        raise ValueError("its signature is false") from None
    except UnsupportedAlgorithm as error:
        raise ValueError(f"its signature is of a kind that is not known: {error}") from None


def _verify(
    certificate: Certificate,
    signature: bytes,
    text: bytes,
    algorithm: bytes,
    digest: hashes.HashAlgorithm,
) -> None:
    key = certificate.public_key()
    kind = _HASHES.get(algorithm, digest)
    if isinstance(key, rsa.RSAPublicKey):
        pad = padding.PSS(padding.MGF1(kind), padding.PSS.AUTO) if algorithm == _PSS else None
        key.verify(signature, text, pad or padding.PKCS1v15(), kind)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, text, ec.ECDSA(kind))
    elif isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, text)
    else:
        raise ValueError(f"its key is of a kind that is not known: {type(key).__name__}")


def _hash(der: _Der, algorithm: _Element) -> hashes.HashAlgorithm:
    parts = der.inside(algorithm, _SEQUENCE)
    found = _HASHES.get(der.content(parts[0])) if parts else None
    if found is None:
        raise ValueError("it is signed over a hash that is not known, or not strong")
    return found


def _attributes(der: _Der, signed: _Element) -> dict[bytes, bytes]:
    """The value of each, as an element, by its OID."""
    found: dict[bytes, bytes] = {}
    for one in der.inside(signed, _TAGGED_0):
        parts = der.inside(one, _SEQUENCE)
        values = der.inside(parts[1], _SET) if len(parts) == 2 else []
        name = der.content(parts[0]) if parts else b""
        if len(values) != 1 or name in found:
            raise ValueError("a signed attribute has not one value")
        found[name] = der.raw(values[0])
    return found


def _check_named(attributes: dict[bytes, bytes], certificate: Certificate) -> None:
    """That what is signed names the certificate, by its hash."""
    new, old = attributes.get(_SIGNED_BY_V2), attributes.get(_SIGNED_BY)
    value = new or old
    if value is None:
        raise ValueError("what is signed does not name its certificate")
    der = _Der(value)
    named = der.inside(der.whole(), _SEQUENCE)
    each = der.inside(named[0], _SEQUENCE) if named else []
    parts = der.inside(each[0], _SEQUENCE) if each else []
    name = "sha1" if new is None else "sha256"
    if new is not None and parts and parts[0].tag == _SEQUENCE:
        name = _hash(der, parts.pop(0)).name
    data = certificate.public_bytes(Encoding.DER)
    if not parts or der.content(parts[0]) != hashlib.new(name, data).digest():
        raise ValueError("what is signed names another certificate")
