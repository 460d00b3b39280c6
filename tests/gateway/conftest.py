"""Fixtures of the gateway's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gateway_kit import House, open_house


@pytest.fixture(params=["here", "elsewhere"])
async def house(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    """The gateway in the process of its datacenter, and on another machine: the same to clients."""
    async with open_house(tmp_path, elsewhere=request.param == "elsewhere") as opened:
        yield opened


BY_THE_GATEWAY_ALONE = {
    "test_bucket_settings.py",
    "test_cors.py",
    "test_s3_bad_input.py",
    "test_s3_checksums.py",
    "test_website.py",
}
"""What these test is decided before names or bytes are asked for: once is enough."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [
        one
        for one in items
        if one.path.name not in BY_THE_GATEWAY_ALONE or "[elsewhere" not in one.name
    ]
