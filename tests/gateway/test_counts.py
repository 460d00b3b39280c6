"""What is counted of requests: each once, whatever came of it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from gateway_kit import House, open_house, read_answer, request_bytes, sign

from dc.histogram import Histogram

LARGE = 3 << 20


def answers(house: House, operation: str) -> list[int]:
    return house.counts.operations[operation].answers


async def until(ready: Callable[[], bool]) -> None:
    for _ in range(1000):
        if ready():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within ten seconds")


async def test_answers_bytes_and_seconds_are_counted_by_operation(house: House) -> None:
    await house.bucket()
    body, large = b"x" * 5000, b"y" * LARGE
    assert (await house.ask("PUT", "/photos/a", body)).status == 200
    assert (await house.ask("PUT", "/photos/large", large)).status == 200
    for _ in range(3):
        assert (await house.ask("GET", "/photos/a")).body == body
    assert (await house.ask("GET", "/photos/large")).body == large
    assert (await house.ask("HEAD", "/photos/a")).status == 200
    missing = await house.ask("GET", "/photos/none")
    counts = house.counts
    puts, gets = counts.operations["PutObject"], counts.operations["GetObject"]
    assert puts.answers == [0, 0, 2, 0, 0, 0] and gets.answers == [0, 0, 4, 0, 1, 0]
    assert puts.received == 5000 + LARGE and not puts.sent
    assert gets.sent == 3 * 5000 + LARGE + len(missing.body) and not gets.received
    assert counts.operations["HeadObject"].sent == 0
    assert sum(gets.seconds.counts) == 5 and 0 < gets.seconds.total < 20
    assert counts.codes == {"NoSuchKey": 1}
    assert counts.begun == counts.ended == 8


async def test_what_is_refused_early_has_no_operation(house: House) -> None:
    await house.bucket()
    assert (await house.ask("GET", "/photos/a", secret="wrong")).status == 403
    assert (await house.ask("GET", "/photos?acl&acl")).status == 400
    assert (await house.ask("GET", "/photos?torrent")).status == 405
    assert (await house.raw(b"no http at all\r\n\r\n")).status == 400
    assert house.counts.malformed == 1
    assert answers(house, "none") == [0, 0, 0, 0, 3, 0]
    assert set(house.counts.operations) == {"none"}, "nothing that a client names is a name here"


async def test_a_client_that_goes_is_counted_and_not_in_flight(house: House) -> None:
    await house.bucket()
    _, writer = await house.connect()
    head = sign("PUT", "/photos/a", {"Host": house.host}, "UNSIGNED-PAYLOAD")
    writer.write(request_bytes("PUT", "/photos/a", {**head, "Content-Length": "9000000"}, b"x" * 9))
    counts = house.counts
    await until(lambda: counts.begun == 1)
    assert counts.begun - counts.ended == 1
    writer.close()
    await until(lambda: counts.ended == 1)
    assert answers(house, "PutObject") == [1, 0, 0, 0, 0, 0]


async def test_pages_of_websites_and_preflights_are_counted(house: House) -> None:
    await house.bucket("site")
    document = b"<WebsiteConfiguration><IndexDocument><Suffix>i</Suffix></IndexDocument>"
    document += b"</WebsiteConfiguration>"
    assert (await house.ask("PUT", "/site?website", document)).status == 200
    public = b'{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",'
    public += b'"Action":"s3:GetObject","Resource":"arn:aws:s3:::site/*"}]}'
    assert (await house.ask("PUT", "/site?policy", public)).status == 204
    assert (await house.ask("PUT", "/site/i", b"z" * LARGE)).status == 200
    host = {"Host": "site.s3-website.localhost"}
    reader, writer = await house.connect()
    writer.write(request_bytes("GET", "/", host))
    page = await asyncio.wait_for(read_answer(reader), 20)
    writer.write(request_bytes("OPTIONS", "/", {"Host": house.host, "Origin": "http://a"}))
    await asyncio.wait_for(read_answer(reader), 20)
    writer.close()
    assert page.status == 200 and page.body == b"z" * LARGE
    assert answers(house, "Website") == [0, 0, 1, 0, 0, 0]
    assert house.counts.operations["Website"].sent == LARGE
    assert sum(answers(house, "Preflight")) == 1


def test_a_histogram_counts_what_is_not_above_a_bound() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 1.0, 7.0):
        histogram.note(value)
    assert histogram.at_most() == [(0.1, 2), (1.0, 4), (float("inf"), 5)]
    assert histogram.total == pytest.approx(8.65)


async def test_counts_begin_anew_with_the_gateway(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        assert house.counts.begun == 0 and not house.counts.operations
