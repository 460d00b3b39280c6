"""The format of files: bytes of version 1, kept, are read as what they were written from."""

import base64
import io

from replicator import filed, messages, wire
from tokens.identity import Identity

SENDER, RECEIVER = Identity(b"a" * 32, b"b" * 32), Identity(b"c" * 32, b"d" * 32)
VERSION_1 = base64.b64decode(
    """
    ZmFyc2hvcmUtZXhwb3J0CgAAARnq3BGgRK+gYhCqG0Kkys27HcALnxPa3V1atcOStJp6rEpv4xs2A42J8/OgInKyeHA2
    XfKGCLZeGbjMrw7z5BYCi6d2ZXJzaW9uAaRmaWxl2SAwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZqZzZW5k
    ZXKwYTNjNzYxZTU2ZDU1ZjQ1ZahyZWNlaXZlcrAyYjYxZjBlYzdhMmIyMzUyp21hZGVfbXPPAAABoinxKAClZXBvY2ii
    ZTKmZXBvY2hzgaJlMQSlYWZ0ZXIDp2hvcml6b24Co2tlecRxARJwTZJru8YM9lFDpOatMOOcGwgJWdRed6KxfA5qtoYD
    jqaENI3HwhfjBYC1W2DzgpVCf4MxTZ7U4HthFvNYRqyAVkbd1oW9BJbz9UZpG9BHfMNk40zxm/uLyzgIN9jTYFZnxU5V
    xKNH9yzpq+uPN8SncGFja2luZ6AAAABP4jl2YHQgfVRRdCAgB7NFtXTFq57Sk+RbXgTZ5hcrVL0kzOze7RZ6bG5h+9VV
    Oj9N1EIhsxOJeDbGnbvU0O4RD43sVN2+33GZTn15U9CmGIQb1GymIAozL1xCGywv2FhS0FsUI/nFqOjgc07Xu/xOKtS2
    Dh4EbmUG+1kP0T894SCZXl8SIBu172rXfrz5SkQAAABZNhhUSu3Upz+E0YauWPOGowN7Wi7ZuFurKrPkBv6OBn8DMfUV
    MSrpsbrLXvdKr27me7Iuvnzb0juHlVhXALqtBEYcW/vm9CyN/cY5/xGXyHlKm00NH8RZ8GNJeceaPLI397zSp43f6vx5
    EIhhLLCQE3QI6OfJaJ3DHereUGmaEwMMn34na0h+bXCv1TSKnM6KhysTLJpTizqMAAAAJqC4caAyL3UGqJyyV97lXg08
    W26PdsxY/R4K/wz7YgvkJvXs6gvaiXo0BJLYLKKzUS/cDxv4mxKtEB0p/9bKww2OxuDgurFDw6pUoPuzVDAp5Upp7AUi
    OwP37RbBYkAVJRaUvSpHegAAACgOg8ga97balcbBdv40Me1T4SlNCGZfZXqcRRzCn/vffBFzk8ljAffHCvHydRIWhEpl
    hA0Hk5qy9j68Jurw1gkD6/zfozFpbPpONSBPVVfi4Z5DdD4zGcDsmXG7630SbgZnZKOKm/VdXAAAAFL/lDkhYAXBnO//
    2J8FgCUHIk7Lut56Q6uaVJ2fK8JOrefVc/53JvZGBRFlOGFFtzpYbnXERgrRr+RW2IJNDFQMQUmpJOcpq/CM/wgwk2FT
    tqP81aj53Kv4wJgq6CBAekSvXng8C5xw2hDJ8QUC4JMwXv/DmV7hHXibUbG7FDsmWyAblG0i2wste6H7CXwyhTL/PwAA
    ACtZHT7Rrk1o2BQ18fvs/pn77qYhj8olBi1WcLp8gGjQ2kQcwguESHlqPSlYWQALG6mL0ztJ8Bj7kboJadpx1UkK7jdM
    irUAkxzac40KGxvrx/D0MQE4ODl5VW3M7sM17k4aVntoiyhIDqm4dg==
    """
)


async def test_version_1_is_read() -> None:
    source = io.BytesIO(VERSION_1)

    async def read(length: int) -> bytes:
        return source.read(length)

    reader = filed.FileReader(RECEIVER, read)
    header = await reader.open({SENDER.dc_id: SENDER.public.signing_key}.get)
    assert (header.version, header.file) == (1, "0123456789abcdef" * 2)
    assert (header.sender, header.receiver) == (SENDER.dc_id, RECEIVER.dc_id)
    assert (header.made_ms, header.after, header.horizon) == (1_796_000_000_000, 3, 2)
    assert (header.epoch, header.epochs) == ("e2", {"e1": 4})
    found: list[filed.Content] = []
    while (chunk := await reader.next_chunk()) is not None:
        found.append(reader.content(chunk))
    ack, batch, piece, gone, covered, end = found
    assert ack == filed.Acknowledges(messages.Ack(epoch="f", position=7, taken=9, unfinished=[8]))
    assert type(batch) is wire.Batch and (batch.after, batch.last) == (3, 6)
    assert [(type(one), one.seq) for one in batch.records] == [(wire.TombstoneRecord, 5)]
    assert type(piece) is filed.BodyPiece
    assert (piece.seq, piece.start, bytes(piece.data)) == (6, 10, b"bytes")
    assert gone == filed.Superseded(4, 6)
    assert type(covered) is wire.Covered and covered.position == 6
    assert end == filed.End(6, "root")
    assert reader.bytes == len(VERSION_1)
