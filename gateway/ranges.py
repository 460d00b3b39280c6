"""The Range header, as S3 understands it (RFC 9110, section 14).

One range of bytes is served; several at once, another unit, or anything that is no range at all
makes the header as if it were not there, as S3 does. A range that begins behind the end of the
object, and a suffix of no bytes, is not satisfiable.
"""

from gateway.errors import S3Error

_DIGITS_MAX = 19


def _number(text: str) -> int | None:
    if not text.isascii() or not text.isdigit():
        return None
    return int(text) if len(text) <= _DIGITS_MAX else 10**_DIGITS_MAX


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """[start, stop) of an object of `size` bytes; None for all of it. Raises InvalidRange."""
    if header is None or not header.startswith("bytes="):
        return None
    first_text, dash, last_text = header[6:].strip().partition("-")
    if not dash:
        return None
    if not first_text:
        suffix = _number(last_text)
        if suffix is None:
            return None
        if suffix == 0 or size == 0:
            raise _unsatisfiable(header, size)
        return max(0, size - suffix), size
    first = _number(first_text)
    last = size if not last_text else _number(last_text)
    if first is None or last is None:
        return None
    if last_text and last < first:
        return None
    if first >= size:
        raise _unsatisfiable(header, size)
    return first, min(last + 1, size)


def parse_copy_range(header: str, size: int) -> tuple[int, int]:
    """[start, stop) of x-amz-copy-source-range, which must be `bytes=first-last` within `size`."""
    first_text, dash, last_text = header.removeprefix("bytes=").partition("-")
    first, last = _number(first_text), _number(last_text)
    if not header.startswith("bytes=") or not dash or first is None or last is None or last < first:
        raise S3Error(
            "InvalidArgument",
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first "
            "and last are the zero-based offsets of the first and last bytes to copy",
            extra={"ArgumentName": "x-amz-copy-source-range", "ArgumentValue": header},
        )
    if last >= size:
        raise S3Error(
            "InvalidRange",
            f"Range specified is not valid for source object of size: {size}",
            extra={"ArgumentName": "x-amz-copy-source-range", "ArgumentValue": header},
        )
    return first, last + 1


def _unsatisfiable(header: str, size: int) -> S3Error:
    extra = {"RangeRequested": header, "ActualObjectSize": str(size)}
    return S3Error("InvalidRange", extra=extra)
