"""What is stored beside the bytes of a body, so that names can be found again from the bytes.

A rebuild of the name server reads these from the containers. The stamp orders the bodies of one
key; for a body that streams in, it is the stamp of its beginning, as the final one is not known
when the first bytes are written.
"""

import msgspec

from dc.stamps import Stamp

_FORMAT = 1
_encode = msgspec.msgpack.Encoder().encode


def ident(
    bucket_id: str, key: str, vid: str, stamp: Stamp, upload: str = "", part: int = 0
) -> bytes:
    """The ident of a body, or of part `part` of the multipart upload `upload`."""
    return _encode((_FORMAT, bucket_id, key, vid, stamp, upload, part))
