"""Attributes that an object is born with: registers (docs/s3.md) from the headers of its write and
from who writes it, and the retention that its bucket gives to all.

Each has the stamp of the write, so what is set later, in any datacenter, is later.
"""

from collections.abc import Mapping

from dc.names.model import Bucket, Register, Registers
from dc.notary import born
from dc.stamps import Stamp
from gateway.access import acl
from gateway.access.acl_requests import acl_of_write
from gateway.context import Context
from gateway.locks import default_retention, lock_of_headers
from gateway.request import Request
from gateway.tags import HEADER, TAGS, register_text, tags_of_header


def has_attributes(request: Request) -> bool:
    """Whether an object that is written by this request may be born with some."""
    return not request.plain or not request.access.is_owner


def read_attributes(context: Context, request: Request, stamp: Stamp) -> dict[str, str]:
    """The texts of registers, by name. What is wrong with the headers is S3's error of each."""
    bucket, headers, directory = request.bucket, request.headers, context.names.directory
    found = lock_of_headers(bucket, headers, stamp)
    granted = acl_of_write(directory, bucket, headers, request.user)
    if text := acl.register_text(granted, bucket.owner):
        found[acl.ACL] = text
    if HEADER in headers and (tags := tags_of_header(headers[HEADER])):
        found[TAGS] = register_text(tags)
    return found


def registers_at(
    bucket: Bucket, stamp: Stamp, attributes: Mapping[str, str], sha256: str = ""
) -> Registers:
    """The registers of a version that is written with this stamp. `sha256`: of its bytes as clients
    read them, in hex, if it is known."""
    texts = {**default_retention(bucket, stamp), **attributes} if bucket.registers else attributes
    registers = {name: Register(stamp, text) for name, text in texts.items()}
    return registers | born(bucket, stamp, sha256)
