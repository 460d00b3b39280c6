"""The peer listener's certificate and its fingerprint, and what loads the big library."""

import hashlib
import pkgutil
import ssl
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from cryptography import x509
from token_samples import ALPHA

import tokens
from tokens.certificate import make_certificate
from tokens.errors import CertificateError
from tokens.fingerprint import fingerprint, fingerprint_of_der

START = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
CERT, KEY = make_certificate(ALPHA.dc_id, START)


def test_says_the_dc_and_lives_twenty_years():
    cert = x509.load_pem_x509_certificate(CERT)
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [ALPHA.dc_id]
    assert cert.not_valid_before_utc == START
    assert cert.not_valid_after_utc.year == START.year + 20
    assert cert.public_key().curve.name == "secp256r1"
    cert.verify_directly_issued_by(cert)


def test_fingerprint_is_the_hash_of_the_der():
    cert = x509.load_pem_x509_certificate(CERT)
    from_library = cert.fingerprint(cert.signature_hash_algorithm).hex()
    assert fingerprint(CERT) == fingerprint(CERT.decode()) == from_library
    assert fingerprint(b"\n" + CERT + b"\n") == from_library
    der = ssl.PEM_cert_to_DER_cert(CERT.decode())
    assert fingerprint_of_der(der) == hashlib.sha256(der).hexdigest() == from_library


def test_two_certificates_differ():
    assert fingerprint(CERT) != fingerprint(make_certificate(ALPHA.dc_id, START)[0])


@pytest.mark.parametrize(
    "text",
    ["", "x", b"\xff", KEY, CERT + CERT, CERT[:-10], CERT[10:], CERT + KEY,
     "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
     "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n",
     "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" * 3],
)  # fmt: skip
def test_what_is_not_one_certificate_is_refused(text):
    with pytest.raises(CertificateError):
        fingerprint(text)


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        make_certificate(ALPHA.dc_id, datetime(2027, 1, 2))


def shake_hands(client, server, client_to_server, server_to_client, rounds=4):
    """Carry a TLS handshake between two sides in memory; each direction is (out, in)."""
    for _ in range(rounds):
        for side, (out, into) in ((client, client_to_server), (server, server_to_client)):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            into.write(out.read())


def test_a_tls_13_peer_sees_the_pinned_fingerprint(tmp_path):
    (tmp_path / "cert").write_bytes(CERT)
    (tmp_path / "key").write_bytes(KEY)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.minimum_version = ssl.TLSVersion.TLSv1_3
    server_context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    to_client, from_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    to_server, from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, from_client)
    server = server_context.wrap_bio(to_server, from_server, server_side=True)
    shake_hands(client, server, (from_client, to_server), (from_server, to_client))
    assert client.version() == "TLSv1.3"
    assert fingerprint_of_der(client.getpeercert(binary_form=True)) == fingerprint(CERT)


def test_only_the_certificate_module_loads_the_big_library():
    modules = [m.name for m in pkgutil.iter_modules(tokens.__path__) if m.name != "certificate"]
    assert len(modules) > 10
    imports = "; ".join(f"import tokens.{name}" for name in modules)
    check = "import sys; assert not {'cryptography', 'tokens.certificate'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", f"{imports}; {check}"], check=True)
