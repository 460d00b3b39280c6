"""The notary through a gateway on another machine."""

import hashlib
from pathlib import Path

import pytest
from gateways_kit import Cluster
from process_kit import eventually
from proofs_kit import certificate, mark

pytestmark = pytest.mark.process


def test_a_gateway_elsewhere_gives_header_and_certificate(tmp_path: Path) -> None:
    """The switch counts there as soon as the command is done."""
    from notary_checker import verify_certificate

    cluster = Cluster(tmp_path)
    try:
        cluster.join("gw1")
        there, here = cluster.client("gw1"), cluster.client("paris")
        there.create_bucket(Bucket="photos")
        there.put_object(Bucket="photos", Key="before", Body=b"before")
        cluster.paris.cli("notary", "enable", "photos")
        there.put_object(Bucket="photos", Key="there", Body=b"there")
        here.put_object(Bucket="photos", Key="here", Body=b"here")
        vkeys = [one["key"] for one in cluster.admin.get("notary", "keys")["keys"]]
        for key in ("there", "here"):
            assert mark(there, key) in ("pending", "notarized")
            eventually("it is notarized", lambda key=key: mark(there, key) == "notarized")
            found = certificate(there, key)
            assert found == certificate(here, key)
            entry = verify_certificate(found, vkeys)
            assert entry["sha256"] == hashlib.sha256(key.encode()).hexdigest()
        assert mark(there, "before") == ""
    finally:
        cluster.end()
