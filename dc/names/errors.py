"""What cannot be done: the errors of the name servers (`dc/names/api.py`)."""

from dc.names.model import Bucket


class NamesError(Exception):
    """Something asked of the name servers cannot be done."""


class BucketExists(NamesError):
    """The name is taken; `bucket` is who has it."""

    def __init__(self, bucket: Bucket) -> None:
        super().__init__(f"bucket {bucket.name!r} exists")
        self.bucket = bucket


class NoSuchBucket(NamesError): ...


class BucketNotEmpty(NamesError): ...


class NoSuchUpload(NamesError): ...


class NoSuchUser(NamesError): ...


class NoSuchKey(NamesError): ...


class UserExists(NamesError): ...


class TooManyKeys(NamesError): ...


class NoSuchVersion(NamesError): ...


class PreconditionFailed(NamesError):
    """What is there is not what a write was to replace."""


class NothingToMatch(PreconditionFailed):
    """Nothing is there, and the write was to replace something."""


class ObjectLocked(NamesError):
    """A version may not be deleted, or its retention not be changed so."""


class NoSuchConflict(NamesError): ...


class BytesMissing(NamesError):
    """A version was to be stored whose bytes are not in this DC."""


class StampTooOld(NamesError):
    """A local change came so long after its stamp was made that others may rely on there being no
    such change. It must be made again, with a new stamp."""


class TooManyWaiting(NamesError):
    """As many questions wait as may; nothing was done."""


class NoSuchPeer(NamesError): ...


class PeerExists(NamesError): ...


class TokenUsed(NamesError): ...


class NamesFull(NamesError):
    """The name server's disk is full; nothing was committed."""


class NamesClosed(NamesError):
    """The name server is shutting down or its disk has failed; nothing was committed."""
