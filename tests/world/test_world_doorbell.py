"""Worlds without a stream: every feed is drawn when its doorbell rings, from the pairing on. The
broker goes away again and again, and every third ring is lost. All the same all become equal."""

from functools import partial

import pytest
from sim_dc import Dc
from sim_plan import plan_of
from sim_world import run

from dc.broker import Message
from dc.names.model import Peer
from tests.replicator.broker_kit import MemoryBroker

SEEDS = (3, 17, 41, 60, 88)
POLL_SECONDS = 7


class BadBroker(MemoryBroker):
    """Each message may be the last before it goes away; and it takes some time to come back."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def deliver(self, message: Message, retain: bool) -> None:
        self._count += 1
        self.lost = self._count % 3 == 0
        super().deliver(message, retain)
        if self._count % 40 == 0:
            self.go_away()
            self.up = True


@pytest.mark.parametrize("seed", SEEDS)
def test_all_become_equal(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = BadBroker()
    monkeypatch.setattr(Dc, "broker", broker)
    monkeypatch.setattr("replicator.pairing.Peer", partial(Peer, poll_seconds=POLL_SECONDS))
    result = run(plan_of(seed))
    assert result.check == "", result.story
    assert len(broker.rings()) > 10
