"""What a datacenter and its nodes say to each other: a disk's calls, over one TLS connection each.

A frame is two lengths of 4 bytes (big-endian), that of a msgpack array and that of the bytes after
it. The datacenter begins with a `Hello`, the node draws a `Challenge`, and who signs that, in a
`Proof`, is the datacenter. Each frame after it is an `Ask`, answered by an `Answer`, in order. Asks
may follow each other without waiting for answers: so a write and the sync after it cost one way
there and back.

A node does what it is asked for one of its disks by number and a file in it by name, and only names
that containers have: there are no paths. `boot` is a number that each start of a node draws. Who
writes says of which start the file is that he writes to: another one may have lost, with the
machine's memory, what was written before, and refuses (ESTALE). So a sync never says more than is
so.
"""

import errno
import os
import re
import struct
from typing import Annotated

import msgspec

from dc.ports import Buffer
from tokens.hello import NONCE_BYTES, SIGNATURE_BYTES

VERSION = 2
"""1 began with an access token, which wants clocks that agree."""
LENGTHS = struct.Struct(">II")
HEADER_BYTES_MAX = 4 << 10
PAYLOAD_BYTES_MAX = 64 << 20
"""A group of a container has 4 MiB; the names on a disk take 30 bytes each."""
READ_BYTES_MAX = 16 << 20
NAME = re.compile(r"[0-9a-f]{16}-[0-9]{2}\.fss|\.[0-9a-f]{16}-[0-9]{2}\.fss\.new", re.ASCII)

CREATE, OPEN, WRITE, SYNC, READ, SIZE = "create", "open", "write", "sync", "read", "size"
LIST, REMOVE, RENAME, SYNC_DIR, READ_MARK = "list", "remove", "rename", "sync_dir", "mark"
ROOM = "room"
GATEWAYS = "gateway"
"""Use this connection, the one numbered `offset` of `length`, to be a gateway, in the session
`name`. A version of `dc/remote/` follows."""

Name = Annotated[str, msgspec.Meta(max_length=64)]
Text = Annotated[str, msgspec.Meta(max_length=1024)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class WireError(OSError):
    """The other side does not speak as it should."""

    def __init__(self, what: str) -> None:
        super().__init__(errno.EPROTO, what)


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """The version that is spoken. What others may say after it is theirs."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1 << 31)] = VERSION


class Challenge(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the node has drawn for this connection; or the errno why it goes no further."""

    nonce: Annotated[bytes, msgspec.Meta(max_length=NONCE_BYTES)] = b""
    error: Count = 0
    text: Text = ""


class Proof(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The datacenter's signature over the nonce (`tokens/hello.py`)."""

    signature: Annotated[
        bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)
    ]


class Ask(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One call. `boot` of a file that is written; `to` of a renaming."""

    what: Name
    disk: Count
    name: Name = ""
    boot: Name = ""
    offset: Count = 0
    length: Count = 0
    to: Name = ""


class Answer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`error` is an errno, 0 when it was done; `value` is a size. To a `Proof`: `boot`, and `value`
    is how many disks there are."""

    error: Count = 0
    text: Text = ""
    boot: Name = ""
    value: Count = 0


_encode = msgspec.msgpack.Encoder().encode
decode_hello = msgspec.msgpack.Decoder(Hello).decode
decode_challenge = msgspec.msgpack.Decoder(Challenge).decode
decode_proof = msgspec.msgpack.Decoder(Proof).decode
decode_ask = msgspec.msgpack.Decoder(Ask).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
encode_names = msgspec.msgpack.Encoder().encode
decode_names = msgspec.msgpack.Decoder(list[str]).decode


def frame(header: Hello | Challenge | Proof | Ask | Answer, payload: Buffer = b"") -> bytes:
    """The frame as one piece: TLS makes records of what it is given."""
    head = _encode(header)
    return b"".join((LENGTHS.pack(len(head), len(payload)), head, payload))


def lengths(
    raw: bytes, payload_max: int = PAYLOAD_BYTES_MAX, header_max: int = HEADER_BYTES_MAX
) -> tuple[int, int]:
    """Of the header and of the payload of a frame. WireError when they cannot be."""
    header, payload = LENGTHS.unpack(raw)
    if not 0 < header <= header_max or payload > payload_max:
        raise WireError(f"a frame of {header} and {payload} bytes")
    return header, payload


def nonce_of(header: bytes) -> bytes:
    """What a node has drawn. OSError when it goes no further, or sends no challenge."""
    try:
        challenge = decode_challenge(header)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WireError(f"no challenge: {error}") from None
    if challenge.error:
        raise OSError(challenge.error, challenge.text or os.strerror(challenge.error))
    if len(challenge.nonce) != NONCE_BYTES:
        raise WireError(f"a nonce of {len(challenge.nonce)} bytes")
    return challenge.nonce


def ended_at_once() -> OSError:
    """A node ended the connection instead of sending a challenge."""
    return WireError(
        "it ends connections at the first word: if its farshore is older than the datacenter's,"
        " upgrade the node"
    )


def failure(error: OSError) -> Answer:
    number = error.errno or errno.EIO
    return Answer(number, str(error.strerror or error)[:1000])


def raised(answer: Answer) -> OSError:
    """The error that an answer tells of, of the class that belongs to it."""
    return OSError(answer.error, answer.text or os.strerror(answer.error))
