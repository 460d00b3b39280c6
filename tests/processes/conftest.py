"""Two paired datacenters with a user, as processes."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from process_kit import Dc, eventually, pair, s3_client


class Two(NamedTuple):
    """paris and tokyo, paired, with one user and a client for each."""

    paris: Dc
    tokyo: Dc
    keys: dict[str, str]
    at_paris: Any
    at_tokyo: Any


def _two(folder: Path) -> Iterator[Two]:
    paris, tokyo = Dc(folder / "paris", "paris"), Dc(folder / "tokyo", "tokyo")
    try:
        paris.start()
        tokyo.start()
        pair(paris, tokyo)
        keys = paris.facts("user", "add", "ann@example.org")
        clients = [s3_client(dc.s3_port, keys) for dc in (paris, tokyo)]
        two = Two(paris, tokyo, keys, *clients)
        two.at_paris.create_bucket(Bucket="shared")

        def arrived() -> bool:
            users = tokyo.facts("user", "list")
            return bool(users) and "shared" in str(two.at_tokyo.list_buckets()["Buckets"])

        eventually("user and bucket are at tokyo", lambda: _quiet(arrived))
        yield two
    finally:
        paris.end()
        tokyo.end()


def _quiet(ready: Any) -> bool:
    """A client whose keys have not arrived yet gets an error: not ready."""
    from botocore.exceptions import ClientError

    try:
        return bool(ready())
    except ClientError:
        return False


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    yield from _two(tmp_path_factory.mktemp("two"))


@pytest.fixture
def fresh_two(tmp_path: Path) -> Iterator[Two]:
    yield from _two(tmp_path)


# Minutes of waiting on bad networks: `make test-networks`.
collect_ignore = [] if os.environ.get("LONG") else ["test_networks.py", "test_slow_lines.py"]
