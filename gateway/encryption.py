"""Encryption of objects: what requests say of it, and the bodies (`docs/encryption.md`).

SSE-C: the client sends its key with every request, and it is forgotten after it; what is kept says
whether a key is the same one. SSE-S3: the datacenter has the key (`dc.keyring`). A request says
which by its headers; if it says nothing, the bucket's default does.

Errors never hold a key.
"""

import hashlib
import hmac
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, NamedTuple, cast

from msgspec.structs import replace
from multidict import MultiMapping

from dc.names.model import CUSTOMER, DATACENTER, Bucket, Encryption, Sealed, Version
from dc.ports import Buffer
from gateway.cipher import KEY_BYTES, NONCE_BYTES, Decrypter, Encrypter, is_key, key_check
from gateway.context import Context
from gateway.errors import S3Error, invalid_argument
from gateway.read_through import stored
from gateway.request import Request
from gateway.settings import setting

SSE = "x-amz-server-side-encryption"
AES256 = "AES256"
_CUSTOMER_KEY = f"{SSE}-customer"
CUSTOMER_ALGORITHM = f"{_CUSTOMER_KEY}-algorithm"
_COPIED_KEY = "x-amz-copy-source-server-side-encryption-customer"
INLINE_BYTES_MAX = 64 << 10
"""To encrypt this much takes less time than to hand it to a thread would."""

_NEEDS = "Requests specifying Server Side Encryption with Customer provided keys must "


class CustomerKey(NamedTuple):
    """A key that came with a request; `repr` keeps it out of logs."""

    key: bytes
    md5: str

    def __repr__(self) -> str:
        return "CustomerKey()"


class Sealing(NamedTuple):
    """What bodies are to be encrypted with: an `Encryption` without nonces, and the master key."""

    about: Encryption
    master: bytes

    def __repr__(self) -> str:
        return f"Sealing({self.about.kind!r})"

    def sealed(self, body: Sealed) -> Encryption:
        """What is kept of an object of one body."""
        return replace(self.about, nonces=[body.nonce], crc64=body.crc64)

    def encrypter(self, context: Context) -> Encrypter:
        """For one more body."""
        return Encrypter(self.master, context.randomness.token(NONCE_BYTES).hex())


class Opening(NamedTuple):
    """What an encrypted object is read with."""

    about: Encryption
    sizes: list[int]
    master: bytes

    def __repr__(self) -> str:
        return f"Opening({self.about.kind!r})"

    def decrypter(self, start: int) -> Decrypter:
        return Decrypter(self.master, self.about.nonces, self.sizes, start)


# -- what requests say -------------------------------------------------------------------------


def customer_key(
    context: Context, request: Request, prefix: str = _CUSTOMER_KEY
) -> CustomerKey | None:
    """The key that a request brings along. InvalidArgument, InvalidRequest."""
    headers = request.headers
    algorithm = headers.get(f"{prefix}-algorithm")
    key_text, md5_text = headers.get(f"{prefix}-key"), headers.get(f"{prefix}-key-md5")
    if algorithm is None and key_text is None and md5_text is None:
        return None
    if not context.config.ssec_over_http and not request.is_secure:
        raise S3Error("InvalidRequest", f"{_NEEDS}be made over a secure connection.")
    if algorithm is None:
        raise _refused(prefix, f"{_NEEDS}provide a valid encryption algorithm.")
    if algorithm != AES256:
        message = "The encryption request you specified is not valid. The valid value is AES256."
        raise S3Error("InvalidEncryptionAlgorithmError", message)
    if key_text is None:
        raise _refused(prefix, f"{_NEEDS}provide an appropriate secret key.")
    if md5_text is None:
        message = "provide the client calculated MD5 of the secret key."
        raise _refused(prefix, f"{_NEEDS}{message}")
    try:
        key = b64decode(key_text, validate=True)
    except (Base64Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        message = "The secret key was invalid for the specified algorithm."
        raise _refused(f"{prefix}-key", message)
    md5 = hashlib.md5(key, usedforsecurity=False).digest()
    try:
        given = b64decode(md5_text, validate=True)
    except (Base64Error, ValueError):
        given = b""
    if not hmac.compare_digest(md5, given):
        message = "The calculated MD5 hash of the key did not match the hash that was provided."
        raise _refused(f"{prefix}-key-MD5", message)
    return CustomerKey(key, md5_text)


def _refused(name: str, message: str) -> S3Error:
    return S3Error("InvalidArgument", message, extra={"ArgumentName": name})


def _asked_kind(headers: MultiMapping[str]) -> str | None:
    """x-amz-server-side-encryption. InvalidArgument, NotImplemented."""
    asked = headers.get(SSE)
    if asked in (None, AES256):
        return asked
    if asked.startswith("aws:"):
        message = f"The server-side encryption {asked[:40]} is not implemented; AES256 is."
        raise S3Error("NotImplemented", message, extra={"Header": SSE})
    raise invalid_argument("The encryption method specified is not supported", SSE, asked)


def _rule(bucket: Bucket) -> Any:
    """The rule of a bucket's encryption, None when it has none."""
    found = setting(bucket, "encryption") if "encryption" in bucket.registers else None
    return None if found is None else found.Rules[0]


def _encrypts(bucket: Bucket) -> bool:
    """Whether what is put into a bucket is encrypted though no request says so."""
    rule = _rule(bucket)
    return rule is not None and rule.ApplyServerSideEncryptionByDefault is not None


def _check_not_blocked(bucket: Bucket) -> None:
    """AccessDenied when a bucket takes no objects with clients' keys."""
    rule = _rule(bucket)
    blocked = None if rule is None else rule.BlockedEncryptionTypes
    if blocked is not None and "SSE-C" in (blocked.EncryptionType or ()):
        message = "Writes that use server-side encryption with customer-provided keys are blocked "
        raise S3Error("AccessDenied", f"{message}in this bucket.")


async def wanted(context: Context, request: Request) -> Sealing | None:
    """How the object that a request makes is to be encrypted; None for not at all."""
    key = None if request.plain else customer_key(context, request)
    asked = None if request.plain else _asked_kind(request.headers)
    if key is not None:
        if asked is not None:
            message = "Server Side Encryption with Customer provided key is incompatible with "
            raise _refused(SSE, f"{message}the encryption method specified")
        _check_not_blocked(request.bucket)
        check = key_check(key.key, context.randomness.token(NONCE_BYTES))
        return Sealing(Encryption(kind=CUSTOMER, check=check), key.key)
    if asked is None and not _encrypts(request.bucket):
        return None
    key_id, data_key = await context.keyring.current()
    return Sealing(Encryption(kind=DATACENTER, key=key_id), data_key)


def of_upload(context: Context, request: Request, about: Encryption | None) -> Sealing | None:
    """How a part of an upload is to be encrypted, which the upload's begin has said."""
    key = None if request.plain else customer_key(context, request)
    if about is None:
        if key is not None:
            message = "The multipart upload was not initiated with the requested encryption."
            raise S3Error("InvalidRequest", message)
        return None
    if about.kind == CUSTOMER and key is None:
        message = "The multipart upload initiate requested encryption. Subsequent part requests "
        raise S3Error("InvalidRequest", f"{message}must include the appropriate parameters.")
    return Sealing(about, _master(context, about, key))


def opened(
    context: Context, request: Request, version: Version, *, source: bool = False
) -> Opening | None:
    """What the bytes of a version are read with, None when they are as they are. `source`: it is
    that of a copy. InvalidRequest, ServiceUnavailable."""
    prefix = _COPIED_KEY if source else _CUSTOMER_KEY
    key = None if request.plain else customer_key(context, request, prefix)
    about = version.meta.sse
    if about is None or about.kind != CUSTOMER:
        if key is not None:
            message = "The encryption parameters are not applicable to this object."
            raise S3Error("InvalidRequest", message)
        if about is None:
            return None
    elif key is None:
        message = "The object was stored using a form of Server Side Encryption. "
        message += "The correct parameters must be provided to retrieve the object."
        raise S3Error("InvalidRequest", message)
    return _opening(context, version, about, key)


def opened_by_itself(context: Context, version: Version) -> Opening | None:
    """The same, for the datacenter's own reading of what it can read without a client.
    ServiceUnavailable."""
    about = version.meta.sse
    return None if about is None else _opening(context, version, about, None)


def is_readable(version: Version) -> bool:
    """Whether the datacenter can read an object without its client."""
    return version.meta.sse is None or version.meta.sse.kind != CUSTOMER


def _opening(
    context: Context, version: Version, about: Encryption, key: CustomerKey | None
) -> Opening:
    sizes = [part.size for part in version.meta.parts] or [version.size]
    return Opening(about, sizes, _master(context, about, key))


def _master(context: Context, about: Encryption, key: CustomerKey | None) -> bytes:
    if about.kind == CUSTOMER:
        if key is None or not is_key(key.key, about.check):
            message = "The provided encryption parameters did not match the ones used originally."
            raise S3Error("InvalidRequest", message)
        return key.key
    master = context.keyring.key(about.key) if about.kind == DATACENTER else None
    if master is None:
        raise S3Error("ServiceUnavailable", "The key of this object is not known here yet.")
    return master


def sse_head(about: Encryption | None, request: Request) -> str:
    """The header lines that say how an object is encrypted."""
    if about is None:
        return ""
    if about.kind == DATACENTER:
        return f"{SSE}: {AES256}\r\n"
    md5 = request.headers.get(f"{_CUSTOMER_KEY}-key-md5", "")
    return f"{_CUSTOMER_KEY}-algorithm: {AES256}\r\n{_CUSTOMER_KEY}-key-MD5: {md5}\r\n"


# -- bodies ------------------------------------------------------------------------------------


async def encrypted(context: Context, encrypter: Encrypter, data: Buffer) -> bytes:
    """The next bytes of a body that is stored."""
    if len(data) <= INLINE_BYTES_MAX:
        return encrypter.update(data)
    return await context.offload.run(lambda: encrypter.update(data))


async def decrypted(context: Context, decrypter: Decrypter, data: Buffer) -> bytes:
    """The next bytes of a body that is read."""
    if len(data) <= INLINE_BYTES_MAX:
        return decrypter.update(data)
    return await context.offload.run(lambda: decrypter.update(data))


def read_body(
    context: Context,
    version: Version,
    opening: Opening | None,
    start: int,
    stop: int,
    request: Request | None = None,
) -> AsyncIterator[Buffer]:
    """The bytes [start, stop) of an object as clients see them, in pieces. `request`: whose answer
    is to say where they are from."""
    pieces = stored(context, request, version, start, stop)
    return pieces if opening is None else _decrypting(context, opening.decrypter(start), pieces)


async def _decrypting(
    context: Context, decrypter: Decrypter, pieces: AsyncIterator[Buffer]
) -> AsyncIterator[Buffer]:
    async with aclosing(cast(Any, pieces)):
        async for piece in pieces:
            yield await decrypted(context, decrypter, piece)
