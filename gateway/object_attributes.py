"""GetObjectAttributes: what is known of an object, without its bytes and its metadata."""

from datetime import UTC, datetime
from typing import Any

from dc.names.model import Version
from dc.stamps import stamp_ms
from gateway.context import Context
from gateway.encryption import opened
from gateway.errors import invalid_argument
from gateway.limits import PART_NUMBER_MAX
from gateway.metadata import STANDARD
from gateway.model.writer import output
from gateway.put import FULL_OBJECT, crc64_text
from gateway.read import find_version
from gateway.request import Request
from gateway.versioning import shown_id, state_of

_PARTS_MAX = 1000
"""S3's own, for one page."""


async def get_attributes(context: Context, request: Request, asked: Any) -> Any:
    """The attributes that are asked for, of those that there are."""
    limit = _within("x-amz-max-parts", asked.MaxParts, _PARTS_MAX, _PARTS_MAX)
    after = _within("x-amz-part-number-marker", asked.PartNumberMarker, 0, PART_NUMBER_MAX)
    version = await find_version(context, request, asked.VersionId)
    if version.meta.sse is not None or not request.plain:
        opened(context, request, version)
    known = {
        "ETag": version.etag,
        "Checksum": _checksum(version),
        "ObjectParts": _parts(version, after, limit) if version.meta.parts else None,
        "StorageClass": version.meta.storage_class or STANDARD,
        "ObjectSize": version.size,
    }
    shown = version.vid or state_of(request.bucket)
    return output(
        "GetObjectAttributes",
        VersionId=shown_id(version.vid) if shown else None,
        LastModified=datetime.fromtimestamp(stamp_ms(version.stamp) // 1000, UTC),
        **{name: known[name] for name in set(asked.ObjectAttributes)},
    )


def _within(name: str, value: int | None, default: int, most: int) -> int:
    if value is None:
        return default
    if value < 0:
        raise invalid_argument(f"{name} cannot be negative.", name, str(value))
    return min(value, most)


def _checksum(version: Version) -> dict[str, str]:
    meta = version.meta
    if not meta.checksums:
        return {"ChecksumCRC64NVME": crc64_text(meta.plain_crc64), "ChecksumType": FULL_OBJECT}
    found = {f"Checksum{name.upper()}": text for name, text in meta.checksums.items()}
    return {**found, "ChecksumType": meta.checksum_type}


def _parts(version: Version, after: int, limit: int) -> dict[str, Any]:
    """A page of the parts, which are numbered from 1 in an object."""
    meta = version.meta
    names = [f"Checksum{name.upper()}" for name in meta.checksums]
    page = meta.parts[after : after + limit]
    last = after + len(page)
    return {
        "TotalPartsCount": len(meta.parts),
        "PartNumberMarker": after,
        "NextPartNumberMarker": last,
        "MaxParts": limit,
        "IsTruncated": bool(limit) and last < len(meta.parts),
        "Parts": [
            {
                "PartNumber": number,
                "Size": part.size,
                **(dict.fromkeys(names, part.checksum) if part.checksum else {}),
            }
            for number, part in enumerate(page, after + 1)
        ],
    }
