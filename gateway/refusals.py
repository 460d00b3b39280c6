"""What the name servers refuse, as S3 says it."""

from dc.names.api import (
    NamesError,
    NoSuchUpload,
    NoSuchVersion,
    NothingToMatch,
    ObjectLocked,
    PreconditionFailed,
    TooManyWaiting,
)
from gateway.errors import S3Error

_LOCKED = "Access Denied because object protected by object lock."


def refusal_of(error: BaseException) -> S3Error | None:
    """The answer to a request that the name servers have refused; None for what is no refusal."""
    match error:
        case NoSuchUpload():
            return S3Error("NoSuchUpload")
        case NoSuchVersion():
            return S3Error("NoSuchVersion")
        case NothingToMatch():
            return S3Error("NoSuchKey")
        case PreconditionFailed():
            return S3Error("PreconditionFailed")
        case TooManyWaiting():
            return S3Error("SlowDown", "Too many requests wait for positions. Try again later.")
        case ObjectLocked():
            return S3Error("AccessDenied", _LOCKED)
    return None


def refused(outcome: object) -> S3Error | None:
    """The answer to one removal of many, by its outcome; None when it was made. That there was
    nothing to delete is none either."""
    if not isinstance(outcome, NamesError) or isinstance(outcome, NothingToMatch):
        return None
    return refusal_of(outcome) or S3Error("InternalError")
