"""The notary at the gateway: the header that says how far a version is, and certificates:
GET /bucket/key?notary[&versionId=ID].

    x-farshore-notary: pending      its entry is under no published checkpoint yet
    x-farshore-notary: notarized    there is a certificate
"""

import hashlib
from contextlib import aclosing
from functools import partial
from typing import Any, cast

import msgspec

from dc.names.model import Version
from dc.notary import is_notarized
from gateway.context import Context
from gateway.encryption import is_readable, opened_by_itself, read_body
from gateway.errors import S3Error
from gateway.read_through import stored
from gateway.reply import Reply, header_line
from gateway.request import Request

MARK = "x-farshore-notary"
QUERY = "notary"
CONTENT_TYPE = "application/vnd.farshore.certificate+json"
_AGAIN_SECONDS = 1


async def say_notary(context: Context, request: Request, version: Version) -> None:
    """Let the answer say how far a version is."""
    if context.proofs is not None and is_notarized(version.registers):
        proven = await context.proofs.is_proven(version.stamp)
        request.common += header_line(MARK, "notarized" if proven else "pending")


async def certificate(context: Context, version: Version) -> Reply:
    """NoSuchCertificate, CertificatePending."""
    if context.proofs is None or not is_notarized(version.registers):
        raise S3Error("NoSuchCertificate")
    found = await context.proofs.certificate(version.stamp)
    if found is None:
        head = header_line("Retry-After", str(_AGAIN_SECONDS))
        raise S3Error("CertificatePending", head=head)
    return Reply(200, header_line("Content-Type", CONTENT_TYPE), found)


async def sha256_of(context: Context, version: Version) -> tuple[str, bool]:
    """The SHA-256 of an object, in hex, by reading it; and whether that is of the bytes that
    clients read. Of those that only a client can decrypt it is of what is stored. Nobody else is
    asked for bytes that cannot be read here: this datacenter is to sign it. ObjectsError,
    S3Error."""
    context = msgspec.structs.replace(context, others=None)
    is_plain = is_readable(version)
    if is_plain:
        opening = opened_by_itself(context, version)
        pieces = read_body(context, version, opening, 0, version.size)
    else:
        pieces = stored(context, None, version, 0, version.size)
    digest = hashlib.sha256()
    async with aclosing(cast(Any, pieces)):
        async for piece in pieces:
            await context.offload.run(partial(digest.update, piece))
    return digest.hexdigest(), is_plain
