"""The self-signed certificate of a DC's peer listener.

It is pinned by its fingerprint, which the pairing token carries under the DC's signature; no
authority vouches for it, so nothing in it is believed but the key. It is valid for some twenty
years because its end would come as a surprise, and pinning is what decides. The key is ECDSA
P-256, which every TLS 1.3 library speaks, and is separate from the identity's keys.

`cryptography` costs over 15 MB of memory. No module of a running server imports this one: it is
for the one command that makes a certificate.
"""

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_DAYS = 20 * 365 + 5


def make_certificate(dc_id: str, not_before: datetime) -> tuple[bytes, bytes]:
    """(certificate PEM, private key PEM) for a DC, valid from a time with a time zone.

    The key is PKCS #8 without a password: its file is private. Key and serial number come from
    the library's own generator. Raises ValueError for a time without a zone.
    """
    if not_before.tzinfo is None:
        raise ValueError("not_before needs a time zone")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, dc_id)])
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_before + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(dc_id)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
