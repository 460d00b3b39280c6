"""How parts become an object: the checks, the ETag, the checksums. No I/O.

The ETag is the MD5 of the parts' MD5s, with the number of parts behind it. A COMPOSITE checksum is
the same with the checksums of the parts; a FULL_OBJECT checksum, which only the CRCs can have, is
that of all bytes, and is combined from those of the parts without reading a byte again. So is the
CRC-64 that goes with every object. Source: "Checking object integrity in Amazon S3".
"""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import NamedTuple

from awscrt.checksums import combine_crc32, combine_crc32c, combine_crc64nvme
from msgspec.structs import replace

from dc.names.model import Extent, Meta, Part, Upload, UploadPart
from gateway.checksums import hasher
from gateway.errors import S3Error
from gateway.limits import OBJECT_BYTES_MAX, PART_BYTES_MIN, PART_NUMBER_MAX
from gateway.put import FULL_OBJECT
from gateway.xmltext import child_texts, children, parse_document

COMPOSITE = "COMPOSITE"
_COMBINE: dict[str, tuple[Callable[[int, int, int], int], int]] = {
    "CRC32": (combine_crc32, 4),
    "CRC32C": (combine_crc32c, 4),
    "CRC64NVME": (combine_crc64nvme, 8),
}


class NamedPart(NamedTuple):
    """A part as Complete names it; `checksums` by lower-case algorithm, as the client gave them."""

    number: int
    etag: str
    checksums: dict[str, str]


class Assembled(NamedTuple):
    """An object made of parts, not stored yet."""

    size: int
    etag: str
    meta: Meta
    extents: list[Extent]


def parse_complete(body: bytes) -> list[NamedPart]:
    """The parts that a CompleteMultipartUpload names. MalformedXML, InvalidPartOrder."""
    elements = children(parse_document(body, "CompleteMultipartUpload"), "Part")
    if not 1 <= len(elements) <= PART_NUMBER_MAX:
        raise S3Error("MalformedXML")
    named: list[NamedPart] = []
    for element in elements:
        texts = child_texts(element)
        number_text = texts.get("PartNumber", "").strip()
        etag = texts.get("ETag", "").strip().strip('"')
        if not etag or not number_text.isascii() or not number_text.isdigit():
            raise S3Error("MalformedXML")
        if len(number_text) > 5 or not 1 <= int(number_text) <= PART_NUMBER_MAX:
            message = f"PartNumber must be between 1 and {PART_NUMBER_MAX}"
            raise S3Error("InvalidArgument", message, extra={"ArgumentName": "partNumber"})
        number = int(number_text)
        if named and number <= named[-1].number:
            raise S3Error("InvalidPartOrder")
        checksums = {
            name.removeprefix("Checksum").lower(): text.strip()
            for name, text in texts.items()
            if name.startswith("Checksum")
        }
        named.append(NamedPart(number, etag, checksums))
    return named


def etag_of(etags: Sequence[str]) -> str:
    """The ETag of an object of these parts."""
    joined = b"".join(bytes.fromhex(etag) for etag in etags)
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(etags)}"


def assemble(upload: Upload, named: list[NamedPart], present: list[UploadPart]) -> Assembled:
    """The object. InvalidPart, EntityTooSmall, EntityTooLarge."""
    by_number = {part.number: part for part in present}
    parts: list[UploadPart] = []
    for name in named:
        part = by_number.get(name.number)
        if part is None or part.etag != name.etag or not _agrees(name, part):
            extra = {"PartNumber": str(name.number), "ETag": name.etag, "UploadId": upload.id}
            raise S3Error("InvalidPart", extra=extra)
        parts.append(part)
    for part in parts[:-1]:
        if part.size < PART_BYTES_MIN:
            extra = {
                "ProposedSize": str(part.size),
                "MinSizeAllowed": str(PART_BYTES_MIN),
                "PartNumber": str(part.number),
                "ETag": part.etag,
            }
            raise S3Error("EntityTooSmall", extra=extra)
    size = sum(part.size for part in parts)
    if size > OBJECT_BYTES_MAX:
        raise S3Error("EntityTooLarge")
    crc = plain_crc = 0
    for part in parts:
        crc = combine_crc64nvme(crc, part.crc64, part.size)
        plain_crc = combine_crc64nvme(plain_crc, part.plain_crc64, part.size)
    sse = upload.meta.sse
    if sse is not None:
        nonces = [part.sealed.nonce for part in parts if part.sealed is not None]
        sse = replace(sse, nonces=nonces, crc64=plain_crc)
    algorithm = upload.checksum_algorithm.lower()
    meta = replace(
        upload.meta,
        checksums={algorithm: _checksum(upload, parts, plain_crc)} if algorithm else {},
        checksum_type=upload.checksum_type if algorithm else "",
        crc64=crc,
        sse=sse,
        parts=[
            Part(part.number, part.size, part.etag, part.checksums.get(algorithm, ""))
            for part in parts
        ],
    )
    extents = [extent for part in parts for extent in part.extents]
    return Assembled(size, etag_of([part.etag for part in parts]), meta, extents)


def _agrees(name: NamedPart, part: UploadPart) -> bool:
    for algorithm, text in name.checksums.items():
        known = part.checksums.get(algorithm)
        if known is None and algorithm == "crc64nvme":
            known = _base64(part.plain_crc64, 8)
        if known is not None and known != text:
            return False
    return True


def _checksum(upload: Upload, parts: list[UploadPart], crc64: int) -> str:
    algorithm = upload.checksum_algorithm
    if algorithm == "CRC64NVME":
        return _base64(crc64, 8)
    raws = [b64decode(part.checksums.get(algorithm.lower(), "")) for part in parts]
    if upload.checksum_type == FULL_OBJECT:
        combine, size = _COMBINE[algorithm]
        value = 0
        for part, raw in zip(parts, raws, strict=True):
            value = combine(value, int.from_bytes(raw, "big"), part.size)
        return _base64(value, size)
    whole = hasher(algorithm)
    for raw in raws:
        whole.update(raw)
    return f"{whole.digest_b64()}-{len(parts)}"


def _base64(value: int, size: int) -> str:
    return b64encode(value.to_bytes(size, "big")).decode()
