"""aws-chunked bodies: AWS's published examples, any cut, and everything that is wrong."""

from __future__ import annotations

import hmac
import time
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.chunked import (
    CHUNK_LINE_BYTES_MAX,
    TRAILER_BYTES_MAX,
    ChunkedDecoder,
    PayloadMode,
    StreamSeed,
    announced_trailers,
    decoded_length,
    decoder_for,
    strip_aws_chunked,
)
from gateway.errors import S3Error
from gateway.signing_keys import signing_key

SIGNED = PayloadMode.STREAMING_SIGNED
SIGNED_TRAILER = PayloadMode.STREAMING_SIGNED_TRAILER
UNSIGNED_TRAILER = PayloadMode.STREAMING_UNSIGNED_TRAILER
MODES = [SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER]

SCOPE, STAMP = "20130524/us-east-1/s3/aws4_request", "20130524T000000Z"
KEY = signing_key(
    "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1"
).key
CRC = "x-amz-checksum-crc32c"
TRAILER = (CRC, "sOO8/Q==")
EMPTY = sha256().hexdigest()


def seed_of(signature: str) -> StreamSeed:
    return StreamSeed(signature, KEY, SCOPE, STAMP)


SEED = seed_of("ab" * 32)


def encode(mode: PayloadMode, chunks: list[bytes], seed: StreamSeed = SEED) -> bytes:
    """A body as a client writes it, by the words of the documentation."""
    out, previous = b"", seed.signature

    def signature(what: str, *hashes: str) -> str:
        lines = [f"AWS4-HMAC-SHA256-{what}", STAMP, SCOPE, previous, *hashes]
        return hmac.new(KEY, "\n".join(lines).encode(), sha256).hexdigest()

    for chunk in [*chunks, b""]:
        out += b"%x" % len(chunk)
        if mode is not UNSIGNED_TRAILER:
            previous = signature("PAYLOAD", EMPTY, sha256(chunk).hexdigest())
            out += b";chunk-signature=" + previous.encode()
        out += b"\r\n" + (chunk + b"\r\n" if chunk else b"")
    if mode is not SIGNED:
        out += b"%s:%s\r\n" % (TRAILER[0].encode(), TRAILER[1].encode())
    if mode is SIGNED_TRAILER:
        hashed = sha256(f"{TRAILER[0]}:{TRAILER[1]}\n".encode()).hexdigest()
        out += b"x-amz-trailer-signature:" + signature("TRAILER", hashed).encode() + b"\r\n"
    return out + b"\r\n"


def decoder(mode: PayloadMode, length: int, seed: StreamSeed = SEED) -> ChunkedDecoder:
    announced = () if mode is SIGNED else (CRC,)
    return ChunkedDecoder(mode, length, None if mode is UNSIGNED_TRAILER else seed, announced)


def decode(mode: PayloadMode, length: int, *pieces: bytes, seed: StreamSeed = SEED) -> bytes:
    under_test = decoder(mode, length, seed)
    out = [bytes(part) for piece in pieces for part in under_test.feed(piece)]
    trailers = under_test.finish()
    assert trailers == ({} if mode is SIGNED else dict([TRAILER]))
    return b"".join(out)


def refused(mode: PayloadMode, length: int, *pieces: bytes) -> S3Error:
    with pytest.raises(S3Error) as caught:
        decode(mode, length, *pieces)
    return caught.value


# Published examples: Amazon S3 API Reference, "Signature Calculations for the Authorization
# Header: Transferring Payload in Multiple Chunks" and "... including trailing headers".

A = b"a" * 65536
B = b"a" * 1024


def published(signatures: list[str], end: str) -> bytes:
    heads = [f";chunk-signature={text}\r\n".encode() for text in signatures]
    body = b"10000" + heads[0] + A + b"\r\n400" + heads[1] + B + b"\r\n0" + heads[2]
    return body + end.encode()


def test_published_example() -> None:
    body = published(
        [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ],
        "\r\n",
    )
    assert len(body) == 66824
    seed = seed_of("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9")
    assert decode(SIGNED, 66560, body, seed=seed) == A + B


@pytest.mark.parametrize("line_end", ["\r\n", "\n\r\n"])
def test_published_example_with_trailer(line_end: str) -> None:
    body = published(
        [
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ],
        f"{CRC}:sOO8/Q=={line_end}x-amz-trailer-signature:"
        "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n",
    )
    seed = seed_of("106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e")
    assert decode(SIGNED_TRAILER, 66560, body, seed=seed) == A + B


CHUNKS = [b"hello\r\n", b"0\r\n\r\n", b"x" * 300]
PLAIN = b"".join(CHUNKS)


@pytest.mark.parametrize("mode", MODES)
def test_every_cut_position(mode: PayloadMode) -> None:
    body = encode(mode, CHUNKS)
    for cut in range(len(body) + 1):
        assert decode(mode, len(PLAIN), body[:cut], body[cut:]) == PLAIN
    assert decode(mode, len(PLAIN), *(bytes([byte]) for byte in body)) == PLAIN


@pytest.mark.parametrize("mode", MODES)
def test_truncated_at_every_byte(mode: PayloadMode) -> None:
    body = encode(mode, CHUNKS)
    for cut in range(len(body)):
        assert refused(mode, len(PLAIN), body[:cut]).code == "IncompleteBody", cut


@pytest.mark.parametrize("mode", [SIGNED, SIGNED_TRAILER])
def test_every_flipped_bit_is_refused(mode: PayloadMode) -> None:
    body = encode(mode, CHUNKS)
    for at in range(len(body)):
        if body[at : at + 1].isalpha():
            flips = [1 << bit for bit in range(8) if bit != 5]  # letter case may not matter
        else:
            flips = [1 << bit for bit in range(8)]
        for flip in flips:
            flipped = body[:at] + bytes([body[at] ^ flip]) + body[at + 1 :]
            assert refused(mode, len(PLAIN), flipped).status in (400, 403)


def test_flipped_bit_of_data_is_a_wrong_signature() -> None:
    body = encode(SIGNED, [b"aaaa", b"bbbb"])
    assert refused(SIGNED, 8, body.replace(b"bbbb", b"bbcb")).code == "SignatureDoesNotMatch"


def test_chunks_in_another_order_are_refused() -> None:
    body = encode(SIGNED, [b"aaaa", b"bbbb"])
    size = len(body[: body.index(b"aaaa") + 6])
    swapped = body[size : 2 * size] + body[:size] + body[2 * size :]
    assert refused(SIGNED, 8, swapped).code == "SignatureDoesNotMatch"


@given(
    st.sampled_from(MODES),
    st.lists(st.binary(min_size=1, max_size=200), max_size=6),
    st.lists(st.integers(0, 2000), max_size=8),
)
def test_round_trip(mode: PayloadMode, chunks: list[bytes], cuts: list[int]) -> None:
    body = encode(mode, chunks)
    at = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[a:b] for a, b in pairwise(at)]
    plain = b"".join(chunks)
    assert decode(mode, len(plain), *pieces) == plain


@given(st.sampled_from(MODES), st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_end_in_an_error_of_s3(mode: PayloadMode, pieces: list[bytes]) -> None:
    with pytest.raises(S3Error):
        decode(mode, 10, *pieces)


def test_large_chunk_is_given_as_views_before_its_end() -> None:
    body = encode(SIGNED, [b"z" * 100_000])
    under_test = decoder(SIGNED, 100_000)
    (first,) = under_test.feed(body[:50_000])
    assert isinstance(first, memoryview) and len(first) > 49_000


SIZES = ["0x1", "-1", "+1", " 1", "1 ", "1_0", "", "g", "1" * 17, "1;a=b", "1;", "١", "\x00", "1\r"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", MODES)
def test_bad_chunk_size(size: str, mode: PayloadMode) -> None:
    signature = b"" if mode is UNSIGNED_TRAILER else b";chunk-signature=" + b"a" * 64
    error = refused(mode, 100, size.encode() + signature + b"\r\nx\r\n")
    assert (error.code, error.status) == ("InvalidRequest", 400)


@pytest.mark.parametrize("size", [b"b", b"ffffffffffffffff", b"8000000000000000"])
def test_chunk_larger_than_what_was_announced(size: bytes) -> None:
    under_test = decoder(UNSIGNED_TRAILER, 10)
    with pytest.raises(S3Error, match="IncompleteBody"):
        under_test.feed(size + b"\r\n")


@pytest.mark.parametrize("announced", [len(PLAIN) - 1, len(PLAIN) + 1, 0])
@pytest.mark.parametrize("mode", MODES)
def test_other_length_than_announced(mode: PayloadMode, announced: int) -> None:
    assert refused(mode, announced, encode(mode, CHUNKS)).code == "IncompleteBody"


HEX = "a" * 64
BAD_LINES = [
    b"1\r\nx",
    b"1;chunk-signature=\r\n",
    b"1;chunk-signature=" + b"a" * 63 + b"\r\n",
    b"1;chunk-signature=" + b"a" * 65 + b"\r\n",
    b"1;Chunk-Signature=" + b"a" * 64 + b"\r\n",
    b"1;chunk-signature=" + b"a" * 64 + b";x\r\n",
    b"1;chunk-signature=" + b"a" * 64 + b"\n",
    b"a" * CHUNK_LINE_BYTES_MAX,
    b"a" * 100_000,
]


@pytest.mark.parametrize("line", BAD_LINES)
def test_bad_line_before_a_signed_chunk(line: bytes) -> None:
    assert refused(SIGNED, 100, line).code == "InvalidRequest"
    assert refused(SIGNED, 100, *(line[i : i + 7] for i in range(0, len(line), 7))).status == 400


def test_signed_chunk_with_bytes_that_are_no_text() -> None:
    line = b"1;chunk-signature=" + b"\xff" * 64 + b"\r\nx\r\n"
    assert refused(SIGNED, 1, line).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("end", [b"x\r\n", b"\n", b"\rx\n", b"xx"])
def test_data_not_followed_by_a_line_end(end: bytes) -> None:
    error = refused(UNSIGNED_TRAILER, 100, b"1\r\na" + end + b"0\r\n\r\n")
    assert error.code == "InvalidRequest"


ENDS = [
    ("announced and absent", b"\r\n", "MalformedTrailerError"),
    ("not announced", b"%s:a\r\nx-amz-meta-a:b\r\n\r\n" % CRC.encode(), "MalformedTrailerError"),
    ("other", b"x-amz-checksum-sha1:a\r\n\r\n", "MalformedTrailerError"),
    ("twice", b"%s:a\r\n%s:a\r\n\r\n" % (CRC.encode(), CRC.encode()), "MalformedTrailerError"),
    (
        "twice, other case",
        b"%s:a\r\n%s:a\r\n\r\n" % (CRC.encode(), CRC.upper().encode()),
        "MalformedTrailerError",
    ),
    ("no colon", b"abc\r\n\r\n", "MalformedTrailerError"),
    ("NUL", b"%s:a\x00\r\n\r\n" % CRC.encode(), "MalformedTrailerError"),
    ("CR within", b"%s:a\rb\r\n\r\n" % CRC.encode(), "MalformedTrailerError"),
    ("not ASCII", b"%s:\xc3\xbc\r\n\r\n" % CRC.encode(), "MalformedTrailerError"),
    ("too long", b"%s:" % CRC.encode() + b"a" * TRAILER_BYTES_MAX, "MalformedTrailerError"),
    ("no end", b"%s:a\r\n" % CRC.encode(), "IncompleteBody"),
]


@pytest.mark.parametrize(("what", "end", "code"), ENDS, ids=[row[0] for row in ENDS])
def test_bad_trailers(what: str, end: bytes, code: str) -> None:
    error = refused(UNSIGNED_TRAILER, 0, b"0\r\n" + end)
    assert (error.code, error.status) == (code, 400)


def test_trailers_as_some_clients_end_them() -> None:
    line = f"{CRC}: sOO8/Q==".encode()
    for end in (b"\r\n\r\n", b"\n\r\n\r\n", b"\n\r\n"):
        assert decode(UNSIGNED_TRAILER, 0, b"0\r\n" + line + end) == b""


def test_signed_trailer_needs_its_signature() -> None:
    body = encode(SIGNED_TRAILER, [b"abc"])
    start = body.index(b"x-amz-trailer-signature")
    assert refused(SIGNED_TRAILER, 3, body[:start] + b"\r\n").code == "IncompleteBody"
    changed = body.replace(b"sOO8/Q==", b"sOO8/A==")
    assert refused(SIGNED_TRAILER, 3, changed).code == "SignatureDoesNotMatch"
    moved = body[:-2] + b"x-amz-checksum-sha1:a\r\n\r\n"
    assert refused(SIGNED_TRAILER, 3, moved).code == "MalformedTrailerError"


def test_unsigned_mode_takes_no_signature_as_trailer() -> None:
    body = f"0\r\n{CRC}:sOO8/Q==\r\nx-amz-trailer-signature:{HEX}\r\n\r\n".encode()
    assert refused(UNSIGNED_TRAILER, 0, body).code == "MalformedTrailerError"


@pytest.mark.parametrize("mode", MODES)
def test_data_after_the_end(mode: PayloadMode) -> None:
    assert refused(mode, len(PLAIN), encode(mode, CHUNKS) + b"x").status == 400
    assert refused(mode, len(PLAIN), encode(mode, CHUNKS), b"1\r\nx\r\n").status == 400


def test_failed_decoder_stays_failed() -> None:
    under_test = decoder(UNSIGNED_TRAILER, 1)
    with pytest.raises(S3Error):
        under_test.feed(b"zz\r\n")
    with pytest.raises(S3Error):
        under_test.feed(b"1\r\nx\r\n0\r\n")
    with pytest.raises(S3Error):
        under_test.finish()


def test_a_million_one_byte_chunks_take_linear_time() -> None:
    def seconds(count: int) -> float:
        body = b"1\r\nx\r\n" * count + f"0\r\n{CRC}:sOO8/Q==\r\n\r\n".encode()
        pieces = [body[at : at + 65536] for at in range(0, len(body), 65536)]
        begun = time.process_time()
        assert len(decode(UNSIGNED_TRAILER, count, *pieces)) == count
        return time.process_time() - begun

    assert seconds(1_000_000) < 40 * max(seconds(100_000), 0.01)


def test_mode_and_seed_must_agree() -> None:
    for mode, seed in ((SIGNED, None), (UNSIGNED_TRAILER, SEED), (PayloadMode.UNSIGNED, None)):
        with pytest.raises(ValueError):
            ChunkedDecoder(mode, 0, seed)
    with pytest.raises(S3Error):
        ChunkedDecoder(SIGNED, 0, SEED, (CRC,))


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "MissingContentLength"),
        ("", "InvalidArgument"),
        ("-1", "InvalidArgument"),
        ("+5", "InvalidArgument"),
        ("1_0", "InvalidArgument"),
        ("٣", "InvalidArgument"),
        ("9" * 5000, "InvalidArgument"),
        ("9" * 20, "EntityTooLarge"),
    ],
)
def test_bad_decoded_length(value: str | None, code: str) -> None:
    headers = CIMultiDict({} if value is None else {"x-amz-decoded-content-length": value})
    with pytest.raises(S3Error) as caught:
        decoded_length(headers)
    assert caught.value.code == code


def test_decoded_length_twice() -> None:
    name = "x-amz-decoded-content-length"
    with pytest.raises(S3Error, match="InvalidArgument"):
        decoded_length(CIMultiDict([(name, "1"), (name, "1")]))


@pytest.mark.parametrize("value", ["x-amz-meta-a", "", f"{CRC},{CRC}", "authorization", f"{CRC},"])
def test_bad_announcement(value: str) -> None:
    with pytest.raises(S3Error, match="InvalidRequest"):
        announced_trailers(CIMultiDict({"x-amz-trailer": value}))


def test_decoder_for_a_request() -> None:
    headers = CIMultiDict({"X-Amz-Trailer": CRC.upper(), "X-Amz-Decoded-Content-Length": "3"})
    under_test = decoder_for(headers, UNSIGNED_TRAILER, None)
    under_test.feed(encode(UNSIGNED_TRAILER, [b"abc"]))
    assert under_test.finish() == dict([TRAILER])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, None),
        ("aws-chunked", None),
        ("AWS-Chunked", None),
        ("aws-chunked,gzip", "gzip"),
        ("gzip, aws-chunked", "gzip"),
        ("gzip", "gzip"),
        ("", None),
        ("aws-chunked, gzip , br", "gzip, br"),
    ],
)
def test_strip_aws_chunked(given: str | None, kept: str | None) -> None:
    assert strip_aws_chunked(given) == kept
