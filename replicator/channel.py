"""The TLS of the peer listener: version 1.3 only, with the DC's own self-signed certificate.

Nobody vouches for the certificate; peers know it by its fingerprint (`replicator/client.py`).
"""

import ssl
from pathlib import Path


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Reads both files: call it before the event loop runs, or in a thread."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_COMPRESSION
    context.load_cert_chain(certificate, key)
    return context
