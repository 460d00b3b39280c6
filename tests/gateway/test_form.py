"""The reader of forms: strict, bounded, and the same however a form is cut into pieces."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from form_kit import BOUNDARY, form, part
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import S3Error
from gateway.form import Form, boundary_of
from gateway.limits import FORM_BYTES_MAX

Found = tuple[dict[str, str], str, bytes]


def pieces(body: bytes, size: int) -> Callable[[], Awaitable[bytes]]:
    left = [body[at : at + size] for at in range(0, len(body), size)][::-1]

    async def read() -> bytes:
        return left.pop() if left else b""

    return read


def read_form(body: bytes, size: int = 1 << 16, boundary: str = BOUNDARY) -> Found:
    async def run() -> Found:
        one = Form(boundary.encode(), pieces(body, size))
        fields = await one.fields()
        file = b""
        while piece := await one.file():
            file += piece
        assert await one.file() == b""
        return fields, one.filename, file

    return asyncio.run(run())


def refused(body: bytes, size: int = 1 << 16) -> S3Error:
    with pytest.raises(S3Error) as caught:
        read_form(body, size)
    return caught.value


@given(
    st.dictionaries(st.text("abcdef-", min_size=1), st.text(), max_size=4),
    st.binary(),
    st.integers(1, 100),
)
def test_fields_and_file_however_cut(fields: dict[str, str], file: bytes, size: int) -> None:
    body = form(fields, file, "name")
    assert read_form(body, size) == (fields, "name", file)


@given(st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--", BOUNDARY.encode(), b"x", b"\r\n--"])))
def test_files_that_look_like_delimiters(parts: list[bytes]) -> None:
    file = b"".join(parts)
    body = form({}, file)
    if b"\r\n--" + BOUNDARY.encode() in b"\r\n" + file:
        return
    assert read_form(body, 3)[2] == file


@given(st.binary(max_size=400), st.integers(1, 50))
def test_anything_is_refused_in_words_of_s3(noise: bytes, size: int) -> None:
    for body in (noise, form({"key": "k"})[:-40] + noise, f"--{BOUNDARY}\r\n".encode() + noise):
        try:
            read_form(body, size)
        except S3Error as error:
            assert error.status == 400


@pytest.mark.parametrize("size", [1, 1 << 16])
def test_truncated_at_every_byte(size: int) -> None:
    body = form({"key": "k", "a": "b"}, b"some bytes")
    for end in range(len(body) - 2):
        assert refused(body[:end], size).code == "MalformedPOSTRequest"
    assert read_form(body[:-2], size)[2] == b"some bytes"


def with_head(*lines: str) -> bytes:
    head = "\r\n".join(lines)
    return f"--{BOUNDARY}\r\n{head}\r\n\r\nx\r\n".encode() + form({"key": "k"})


NAMED = 'Content-Disposition: form-data; name="a"'
MALFORMED = [
    b"",
    b"\r\n" + form({}),
    b"preamble\r\n" + form({}),
    form({}).replace(b"\r\n", b"\n"),
    f"--{BOUNDARY} \r\n".encode() + form({}),
    f"--{BOUNDARY}x\r\n".encode() + form({}),
    form({})[:-4] + b"x--\r\n",
    with_head(""),
    with_head("Content-Type: text/plain"),
    with_head(NAMED, NAMED),
    with_head("Content-Disposition: attachment; name=a"),
    with_head("Content-Disposition: form-data"),
    with_head('Content-Disposition: form-data; name=""'),
    with_head('Content-Disposition: form-data; name="a'),
    with_head('Content-Disposition: form-data; name="a" b'),
    with_head('Content-Disposition: form-data; name="a"; name="b"'),
    with_head("Content-Disposition: form-data; name"),
    with_head(NAMED, " folded"),
    with_head(NAMED, "no colon"),
    with_head(NAMED, "Content Type: x"),
    with_head(NAMED, "Content-Transfer-Encoding: base64"),
    part("a", b"\xff") + form({}),
    part("a", b"a").replace(b'"a"', b'"\xff"') + form({}),
]


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed(body: bytes) -> None:
    for size in (1, 1 << 16):
        assert refused(body, size).code == "MalformedPOSTRequest"


def test_a_field_given_twice_is_refused() -> None:
    for name in ("key", "KEY"):
        error = refused(part("key", b"a") + form({name: "b"}))
        assert (error.code, error.extra["ArgumentName"]) == ("InvalidArgument", "key")


def test_fields_take_bounded_memory() -> None:
    sent = 0

    async def endless() -> bytes:
        nonlocal sent
        sent += 1000
        return b"a" * 1000

    async def run() -> None:
        start = part("a", b"")[:-2]
        first = [start]

        async def read() -> bytes:
            return first.pop() if first else await endless()

        await Form(BOUNDARY.encode(), read).fields()

    with pytest.raises(S3Error) as caught:
        asyncio.run(run())
    assert caught.value.code == "MaxPostPreDataLengthExceededError"
    assert sent <= FORM_BYTES_MAX + 2000


def test_of_the_file_no_more_is_held_than_a_delimiter() -> None:
    async def run() -> int:
        body = form({}, None)[: -len(BOUNDARY) - 6] + part("file", b"")[:-2]
        served = [body]

        async def read() -> bytes:
            return served.pop() if served else b"x" * 4096

        one = Form(BOUNDARY.encode(), read)
        await one.fields()
        most = 0
        for _ in range(200):
            await one.file()
            most = max(most, len(one._buffer))
        return most

    assert asyncio.run(run()) < len(BOUNDARY) + 4


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data;charset=utf-8; BOUNDARY="a b"', b"a b"),
        ("multipart/form-data;boundary=" + "a" * 70, b"a" * 70),
    ],
)
def test_boundary(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "parameters",
    ["", "; boundary", "; boundary=", '; boundary=""', "; boundary=a; boundary=b",
     "; boundary=" + "a" * 71, '; boundary="a "', "; boundary=a\nb", "; boundary=ü"],
)  # fmt: skip
def test_no_boundary(parameters: str) -> None:
    with pytest.raises(S3Error) as caught:
        boundary_of(f"multipart/form-data{parameters}")
    assert caught.value.code == "MalformedPOSTRequest"
