"""A connection between its transport and its protocol, with and without a limit."""

import asyncio
from typing import Any

import pytest
from moved_clock import MovedClock

from dc.metered import CALLED_HANDSHAKE_BYTES, CALLER_HANDSHAKE_BYTES, HIGH_BYTES, Metered
from dc.metering import Meter, wire_bytes

RATE = 300 << 10


class Wire(asyncio.Transport):
    """The transport below: what was written, and whether it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.writes = 0
        self.reading = True
        self.state = "open"

    def write(self, data: Any) -> None:
        assert self.state == "open"
        self.sent += data
        self.writes += 1

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.state != "open"

    def close(self) -> None:
        self.state = "closed"

    def abort(self) -> None:
        self.state = "aborted"

    def get_write_buffer_size(self) -> int:
        return 0


class User(asyncio.Protocol):
    """The protocol above: what it is told."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.told: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.got += data

    def eof_received(self) -> bool | None:
        self.told.append("eof")
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


class Ends:
    """A metered connection, with all that it touches."""

    def __init__(self, rate_out: int = 0, rate_in: int = 0, joined: bool = True) -> None:
        self.clock = MovedClock()
        self.wire, self.user = Wire(), User()
        self.narrowed: list[int] = []
        self.meter = Meter(self.clock, lambda _, size: self.narrowed.append(size))
        self.meter.limit(rate_in, rate_out)
        self.connection = Metered(self.user, called=True)
        self.connection.connection_made(self.wire)
        if joined:
            self.connection.join(self.meter)


async def test_without_a_limit_all_goes_through_as_it_comes():
    ends = Ends()
    ends.connection.write(b"one")
    ends.connection.writelines([b"two", b"three"])
    ends.connection.data_received(b"answer")
    assert (bytes(ends.wire.sent), bytes(ends.user.got)) == (b"onetwothree", b"answer")
    assert ends.wire.writes == 2
    assert ends.wire.reading
    assert ends.user.told == ["made"]


async def test_what_went_before_it_joined_is_counted_with_the_handshake():
    ends = Ends()
    early = Metered(User(), called=True)
    early.connection_made(Wire())
    before = ends.meter.out.passed, ends.meter.into.passed
    early.data_received(bytes(500))
    early.write(bytes(20_000))
    early.join(ends.meter)
    early.join(ends.meter)
    sent, received = ends.meter.out.passed - before[0], ends.meter.into.passed - before[1]
    assert sent == wire_bytes(20_000) + CALLED_HANDSHAKE_BYTES
    assert received == wire_bytes(500) + CALLER_HANDSHAKE_BYTES


async def test_a_writer_is_told_to_wait_as_long_as_much_waits():
    ends = Ends(rate_out=RATE)
    ends.connection.write(bytes(HIGH_BYTES + RATE))
    assert ends.user.told == ["made", "pause"]
    await ends.clock.run(0.5)
    assert ends.user.told == ["made", "pause"]
    await ends.clock.run(1.0)
    assert ends.user.told == ["made", "pause", "resume"]
    assert len(ends.wire.sent) == HIGH_BYTES + RATE


async def test_a_transport_that_is_full_gets_nothing_more():
    ends = Ends(rate_out=RATE)
    await ends.clock.run(1.0)

    ends.connection.pause_writing()
    ends.connection.write(bytes(500))
    await ends.clock.run(1.0)
    assert not ends.wire.sent
    ends.connection.write(bytes(500))
    assert not ends.wire.sent, "though it might go"
    assert ends.user.told == ["made", "pause"]
    ends.connection.resume_writing()
    await ends.clock.run(1.0)
    assert len(ends.wire.sent) == 1_000
    assert ends.user.told == ["made", "pause", "resume"]


async def test_what_comes_too_fast_is_held_back_and_not_read():
    ends = Ends(rate_in=RATE)
    ends.connection.data_received(bytes(2 * RATE))
    assert not ends.wire.reading
    await ends.clock.run(1.0)
    assert len(ends.user.got) == pytest.approx(RATE, rel=0.02)
    await ends.clock.run(1.1)
    assert len(ends.user.got) == 2 * RATE
    assert ends.wire.reading


async def test_a_reader_that_does_not_want_more_is_given_none():
    ends = Ends(rate_in=RATE)
    ends.connection.data_received(bytes(RATE))
    ends.connection.pause_reading()
    await ends.clock.run(5.0)
    assert len(ends.user.got) == 0
    ends.connection.resume_reading()
    assert not ends.wire.reading, "there is something that waits"
    await ends.clock.run(2.0)
    assert len(ends.user.got) == RATE
    assert ends.wire.reading


@pytest.mark.parametrize("joined", [True, False])
async def test_without_a_limit_a_reader_that_does_not_want_more_is_given_none(joined: bool):
    """And nothing piles up: the connection is not read."""
    ends = Ends(joined=joined)
    ends.connection.data_received(bytes(1_000))
    ends.connection.pause_reading()
    assert ends.wire.reading, "or its end would not be told"
    ends.connection.data_received(b"a" * 500)
    assert not ends.wire.reading
    await ends.clock.run(5.0)
    assert len(ends.user.got) == 1_000
    ends.connection.resume_reading()
    assert len(ends.user.got) == 1_000, "who says that is in the middle of reading"
    await ends.clock.run(0.1)
    assert ends.user.got[1_000:] == b"a" * 500
    assert ends.wire.reading
    ends.connection.data_received(b"b")
    assert ends.user.got[-1:] == b"b"
    ends.connection.join(ends.meter)
    passed = wire_bytes(1_000) + wire_bytes(500) + wire_bytes(1)
    assert ends.meter.into.passed == passed + CALLER_HANDSHAKE_BYTES


async def test_a_close_waits_for_what_was_written():
    ends = Ends(rate_out=RATE)
    ends.connection.write(bytes(RATE))
    ends.connection.close()
    assert ends.connection.is_closing()
    await ends.clock.run(0.5)
    assert ends.wire.state == "open"
    await ends.clock.run(1.0)
    assert (ends.wire.state, len(ends.wire.sent)) == ("closed", RATE)


async def test_an_abort_waits_for_nothing():
    ends = Ends(rate_out=RATE, rate_in=RATE)
    ends.connection.write(bytes(RATE))
    ends.connection.data_received(bytes(2 * RATE))
    ends.meter.cut()
    await ends.clock.run(5.0)
    assert ends.wire.state == "aborted"
    assert len(ends.wire.sent) == len(ends.user.got) == 0


async def test_the_end_comes_after_all_that_came():
    ends = Ends(rate_in=RATE)
    ends.connection.data_received(bytes(RATE))
    ends.connection.eof_received()
    ends.connection.connection_lost(None)
    assert len(ends.user.got) == RATE
    assert ends.user.told == ["made", "eof", "lost"]
    assert not ends.meter.connections
    await ends.clock.run(2.0)
    assert len(ends.user.got) == RATE


async def test_a_connection_that_is_lost_gives_what_had_come():
    ends = Ends(rate_in=RATE)
    ends.connection.data_received(bytes(RATE))
    ends.connection.connection_lost(ConnectionResetError())
    assert len(ends.user.got) == RATE
    assert ends.user.told == ["made", "lost"]


async def test_a_limit_that_ends_lets_all_go_that_waits():
    ends = Ends(rate_out=1_000, rate_in=1_000)
    ends.connection.write(bytes(RATE))
    ends.connection.data_received(bytes(RATE))
    await ends.clock.run(1.0)
    ends.meter.limit(0, 0)
    await ends.clock.run(0.1)
    assert len(ends.wire.sent) == len(ends.user.got) == RATE
    assert ends.wire.reading


async def test_the_other_end_may_send_little_ahead_under_a_limit_only():
    ends = Ends(rate_in=RATE)
    assert ends.narrowed == [RATE // 2]
    ends.meter.limit(RATE, 5_000)
    ends.meter.limit(1_000, 0)
    ends.meter.limit(0, 0)
    assert ends.narrowed == [RATE // 2, 64 << 10, 0]
    assert Ends(rate_out=RATE).narrowed == []
