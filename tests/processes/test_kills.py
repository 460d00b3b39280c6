"""kill -9 in the middle of a write load: what was acknowledged is there, here and at the peer, and
nothing half-written is ever served. And an absence of a minute, caught up without any help."""

import hashlib
import random
import threading
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from process_kit import all_keys, eventually, s3_client

pytestmark = pytest.mark.process

KILLS = 20
WRITERS = 4
PAUSE_S = 0.02
"""Between the writes of one writer: all that is written is read several times afterwards."""
ABSENCE_S = 60
ABSENCE_PAUSE_S = 0.2
"""The same while the other is away: some twenty writes in a second are enough to catch up with."""


def content(key: str, attempt: int) -> bytes:
    """What is written under a key: it can be told from the bytes whether they are whole."""
    chance = random.Random(f"{key} {attempt}")
    size = chance.choice([0, 100, 4096, 4096, 70_000, 1_500_000])
    data = chance.randbytes(size)
    return hashlib.sha256(data).digest() + data


def check_whole(data: bytes) -> None:
    assert hashlib.sha256(data[32:]).digest() == data[:32], "a half-written object was served"


class Load:
    """Writers at one datacenter. `acknowledged` is what a 200 was got for: key -> body, and keys
    that were deleted -> None. A key has one writer, who rests for `pause_s` after each write."""

    def __init__(
        self, port: int, keys: dict[str, str], label: str, pause_s: float = PAUSE_S
    ) -> None:
        self.acknowledged: dict[str, bytes | None] = {}
        self.unknown: set[str] = set()
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(port, keys, f"{label}/{number}"))
            for number in range(WRITERS)
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, port: int, keys: dict[str, str], label: str) -> None:
        client = s3_client(port, keys)
        chance = random.Random(label)
        number = 0
        while not self._stop.wait(self._pause_s):
            number += 1
            key = f"{label}/{chance.randrange(number) if number % 4 == 0 else number}"
            body = None if chance.random() < 0.1 else content(key, number)
            self.unknown.add(key)
            try:
                if body is None:
                    client.delete_object(Bucket="shared", Key=key)
                else:
                    client.put_object(Bucket="shared", Key=key, Body=body)
            except (ClientError, BotoCoreError):
                # It may have taken effect or not; nobody said so. Do not write it again.
                time.sleep(0.05)
                self.acknowledged.pop(key, None)
                number += 1_000_000
                continue
            self.acknowledged[key] = body
            self.unknown.discard(key)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def missing(client, load: Load) -> list[str]:
    """What was acknowledged and is not there as it was written."""
    wrong = []
    for key, body in sorted(load.acknowledged.items()):
        if key in load.unknown:
            continue
        try:
            got = client.get_object(Bucket="shared", Key=key)["Body"].read()
        except ClientError as error:
            assert error.response["Error"]["Code"] == "NoSuchKey", error
            got = None
        if got is not None:
            check_whole(got)
        if got != body:
            wrong.append(key)
    return wrong


def check_unknown(client, load: Load) -> None:
    """What nobody acknowledged is whole or not there."""
    for key in sorted(load.unknown):
        try:
            check_whole(client.get_object(Bucket="shared", Key=key)["Body"].read())
        except ClientError as error:
            assert error.response["Error"]["Code"] == "NoSuchKey", error


def test_twenty_kills_lose_nothing(fresh_two):
    two = fresh_two
    chance = random.Random(20)
    loads = []
    for turn in range(KILLS):
        victim = (two.paris, two.tokyo)[turn % 2]
        load = Load(victim.s3_port, two.keys, f"kill-{turn}")
        loads.append(load)
        time.sleep(chance.uniform(0.3, 1.2))
        victim.kill()
        load.end()
        assert load.acknowledged, "the load must have written something"
        victim.start()
        client = (two.at_paris, two.at_tokyo)[turn % 2]
        assert missing(client, load) == [], f"after kill {turn}"
        check_unknown(client, load)
    for client, name in ((two.at_paris, "paris"), (two.at_tokyo, "tokyo")):
        for load in loads:
            eventually(f"all of it at {name}", lambda c=client, one=load: not missing(c, one), 60)
            check_unknown(client, load)
    eventually(
        "both list the same",
        lambda: all_keys(two.at_paris, "shared") == all_keys(two.at_tokyo, "shared"),
    )
    acknowledged = sum(len(load.acknowledged) for load in loads)
    assert acknowledged > 200, f"only {acknowledged} acknowledged: the test tried too little"


def test_an_absence_of_a_minute_is_caught_up_alone(fresh_two):
    two = fresh_two
    load = Load(two.paris.s3_port, two.keys, "meanwhile", ABSENCE_PAUSE_S)
    time.sleep(1)
    assert two.tokyo.stop() == 0
    time.sleep(ABSENCE_S)
    two.tokyo.start()
    time.sleep(1)
    load.end()
    assert len(load.acknowledged) > 5 * ABSENCE_S, "the test tried too little"
    assert missing(two.at_paris, load) == []
    eventually("tokyo has it all", lambda: not missing(two.at_tokyo, load), 60)

    def caught_up() -> bool:
        (peer,) = two.paris.facts("replication", "status")["peers"]
        return peer["state"] in ("STREAMING", "IDENTICAL") and peer["behind"] == 0

    eventually("the status says so", caught_up)


def test_sigterm_in_the_middle_of_writes_ends_soon_and_loses_nothing(fresh_two):
    two = fresh_two
    load = Load(two.paris.s3_port, two.keys, "term")
    time.sleep(1)
    assert two.paris.stop(10) == 0
    load.end()
    two.paris.start()
    assert missing(two.at_paris, load) == []
    eventually("tokyo has it, too", lambda: not missing(two.at_tokyo, load), 60)
