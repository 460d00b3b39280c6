"""Fixtures of the gateway's tests, and the way to the kit of the replicator's."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

for kits in ("replicator", "dc/remote"):
    sys.path.append(str(Path(__file__).parent.parent / kits))

from gateway_kit import House, open_house  # noqa: E402


@pytest.fixture(params=["here", "elsewhere"])
async def house(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    """The gateway in the process of its datacenter, and on another machine: the same to clients."""
    async with open_house(tmp_path, elsewhere=request.param == "elsewhere") as opened:
        yield opened
