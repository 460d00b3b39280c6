"""What is stored beside the bytes of a body, so that names can be found again from the bytes.

A body that is stored in one record (`version_ident`) has the whole version there, but where its
bytes are. Of a body that streams in, the final stamp, size and ETag are not known when its first
record is written: its records say what it is for (`body_ident`), with a stamp that tells this body
from every other one of the same key.
"""

import msgspec

from dc.names.model import Version
from dc.stamps import Stamp

VERSION = 1
BODY = 2
_encode = msgspec.msgpack.Encoder().encode


def version_ident(version: Version) -> bytes:
    """The ident of a body that is all of `version`; its extents are left out."""
    return _encode(
        (
            VERSION,
            version.bucket,
            version.key,
            version.vid,
            version.stamp,
            version.kind,
            version.size,
            version.etag,
            version.meta,
        )
    )


def body_ident(
    bucket_id: str, key: str, vid: str, stamp: Stamp, upload: str = "", part: int = 0
) -> bytes:
    """The ident of a body that streams in, or of part `part` of the multipart upload `upload`."""
    return _encode((BODY, bucket_id, key, vid, stamp, upload, part))
