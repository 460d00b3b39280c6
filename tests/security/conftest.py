"""Fixtures of the security tests, and the way to the kits of the others."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
sys.path += [str(TESTS / name) for name in ("gateway", "processes", "replicator", "dc/remote")]

from gateway_kit import House, open_house  # noqa: E402
from process_kit import Dc  # noqa: E402


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        await opened.bucket("photos", "ann")
        await opened.bucket("bobs", "bob")
        yield opened


@pytest.fixture(scope="module")
def dc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dc]:
    """A datacenter that runs as its own process."""
    one = Dc(tmp_path_factory.mktemp("doors") / "dc", "paris")
    try:
        one.start()
        yield one
    finally:
        one.end()
