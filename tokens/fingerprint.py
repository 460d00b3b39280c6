"""A certificate's fingerprint: what a peer pins instead of trusting an authority.

The SHA-256 of the certificate's DER bytes, as 64 lowercase hex characters. Kept apart from
`tokens.certificate`, because that one loads a large library and this one is used all the time.
"""

import binascii
import hashlib
import ssl

from tokens.errors import CertificateError

_BEGIN = "-----BEGIN CERTIFICATE-----"


def fingerprint_of_der(der: bytes) -> str:
    """For what `SSLObject.getpeercert(binary_form=True)` returns."""
    return hashlib.sha256(der).hexdigest()


def fingerprint(cert_pem: str | bytes) -> str:
    """For the text of a certificate file with exactly one certificate; else CertificateError."""
    try:
        text = cert_pem if isinstance(cert_pem, str) else cert_pem.decode("ascii")
        if text.count(_BEGIN) != 1:
            raise ValueError
        der = ssl.PEM_cert_to_DER_cert(text.strip())
    except (ValueError, binascii.Error):
        raise CertificateError(
            "not exactly one PEM certificate; give the peer listener's own certificate, alone"
        ) from None
    if not der:
        raise CertificateError("the certificate is empty; make a new one")
    return fingerprint_of_der(der)
