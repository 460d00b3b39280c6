"""A datacenter is lost: a client with two endpoints goes on at the other one, and when the lost one
is back it says what it had acknowledged and not shipped."""

import os
import signal
import urllib.request
from typing import Any

import pytest
from botocore.exceptions import ConnectionError as Unconnected
from botocore.exceptions import HTTPClientError
from process_kit import eventually

pytestmark = pytest.mark.process

WRITES = 60
SIZE = 200_000
"""More than the buffers of the connection hold, while nobody reads from it."""


class Anywhere:
    """A client that asks one endpoint after the other: what `docs/failover.md` shows."""

    def __init__(self, *clients: Any) -> None:
        self._clients = clients

    def ask(self, operation: str, **arguments: Any) -> Any:
        last: Exception | None = None
        for client in self._clients:
            try:
                return getattr(client, operation)(**arguments)
            except (Unconnected, HTTPClientError) as error:
                last = error
        assert last is not None
        raise last


def test_clients_go_on_and_the_lost_writes_are_listed(fresh_two: Any) -> None:
    two = fresh_two
    anywhere = Anywhere(two.at_paris, two.at_tokyo)
    with urllib.request.urlopen(f"http://127.0.0.1:{two.paris.s3_port}/") as answer:
        assert answer.status == 200, "by which a load balancer sees that it serves"
    anywhere.ask("put_object", Bucket="shared", Key="before", Body=b"1")
    eventually("tokyo has it", lambda: "before" in _keys(two.at_tokyo))
    # Tokyo takes nothing for a moment, so that paris acknowledges what tokyo has not got.
    os.killpg(two.tokyo.process.pid, signal.SIGSTOP)
    for number in range(WRITES):
        anywhere.ask("put_object", Bucket="shared", Key=f"lost/{number}", Body=bytes(SIZE))
    anywhere.ask("put_object", Bucket="shared", Key="both", Body=b"paris")
    two.paris.kill()
    os.killpg(two.tokyo.process.pid, signal.SIGCONT)
    anywhere.ask("put_object", Bucket="shared", Key="both", Body=b"tokyo")
    assert anywhere.ask("get_object", Bucket="shared", Key="both")["Body"].read() == b"tokyo"
    assert anywhere.ask("get_object", Bucket="shared", Key="before")["Body"].read() == b"1"
    eventually("tokyo has noticed", lambda: _state(two.tokyo) == "UNREACHABLE")
    written = {f"lost/{number}" for number in range(WRITES)}
    there = written & _keys(two.at_tokyo)
    assert there != written, "more must be written than the sockets hold"
    two.paris.start()
    eventually("paris has tokyo's", lambda: _body(two.at_paris, "both") == b"tokyo")
    eventually("tokyo has paris's", lambda: len(_keys(two.at_tokyo)) == WRITES + 2)

    def report() -> Any:
        return two.paris.facts("failover", "report", "tokyo")

    eventually("it is exact", lambda: all(one["exact"] for one in report()["absences"]))
    found = {write["key"]: write for write in report()["writes"]}
    # What was in the sockets when tokyo was stopped may have arrived.
    assert written - set(found) == there and "both" in found
    for key, write in found.items():
        assert write["lacked_by"] == ["tokyo"] and write["had_by"] == []
        if key.startswith("lost/"):
            assert (write["state"], write["size"]) == ("shipped", SIZE)
        else:
            assert write["state"] == "conflict"
    shown = two.paris.cli("failover", "report", "--since", "2026-01-01").stdout
    assert all(key in shown for key in found)
    assert two.paris.cli("failover", "report", "rome", check=False).returncode == 1
    assert two.paris.cli("failover", "report", "--since", "then", check=False).returncode == 2
    later = two.paris.facts("failover", "report", "--since", "2090-01-01T00:00+02:00")
    assert later["writes"] == []


def _state(dc: Any) -> str:
    (peer,) = dc.facts("replication", "status")["peers"]
    return str(peer["state"])


def _keys(client: Any) -> set[str]:
    return {one["Key"] for one in client.list_objects_v2(Bucket="shared").get("Contents", [])}


def _body(client: Any, key: str) -> bytes:
    body: bytes = client.get_object(Bucket="shared", Key=key)["Body"].read()
    return body
