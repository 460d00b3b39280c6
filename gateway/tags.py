"""Tags of objects and buckets: what they may be, how they come in, and how they are kept.

They come in as XML, as a header (`x-amz-tagging`, in the form of a query), or as a field of a form
upload (XML again). They are kept as a register, a JSON object sorted by name, so that the same tags
are the same text. Source: "Categorizing your objects using tags" in the S3 User Guide.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from dc.names.model import Registers
from gateway.errors import S3Error, invalid_argument
from gateway.limits import BUCKET_TAGS_MAX, OBJECT_TAGS_MAX, TAG_KEY_CHARS_MAX, TAG_VALUE_CHARS_MAX
from gateway.uri import parse_query
from gateway.xmltext import child_texts, local_name, parse_document

TAGS = "tags"
"""The name of the register."""
HEADER = "x-amz-tagging"
TAGGING_DIRECTIVE = "x-amz-tagging-directive"
"""Of a copy: COPY, which is usual, or REPLACE. The header is followed with REPLACE only."""
_PUNCTUATION = frozenset("_.:/=+-@")
_CATEGORIES = frozenset("LZN")
_REMEMBERED = 1024
"""Sets; one of ten long tags takes 30 KiB."""

Tags = Mapping[str, str]

_decode = msgspec.json.Decoder(dict[str, str]).decode


def check_tags(pairs: Iterable[tuple[str, str]], most: int = OBJECT_TAGS_MAX) -> dict[str, str]:
    """Tags as a client gives them, sorted. InvalidTag."""
    tags: dict[str, str] = {}
    for key, value in pairs:
        if key in tags:
            raise _invalid("Cannot provide multiple Tags with the same key", key)
        if not 1 <= len(key) <= TAG_KEY_CHARS_MAX or not _allowed(key):
            raise _invalid("The TagKey you have provided is invalid", key)
        if len(value) > TAG_VALUE_CHARS_MAX or not _allowed(value):
            raise _invalid("The TagValue you have provided is invalid", key, value)
        if key.lower().startswith("aws:"):
            raise _invalid("System tags cannot be added/updated by requester", key)
        tags[key] = value
        if len(tags) > most:
            whose = "Object" if most == OBJECT_TAGS_MAX else "Bucket"
            raise S3Error("InvalidTag", f"{whose} tags cannot be greater than {most}")
    return dict(sorted(tags.items()))


def check_bucket_tags(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    return check_tags(pairs, BUCKET_TAGS_MAX)


def _allowed(text: str) -> bool:
    return all(
        char in _PUNCTUATION or unicodedata.category(char)[0] in _CATEGORIES for char in text
    )


def _invalid(message: str, key: str, value: str | None = None) -> S3Error:
    extra = {"TagKey": key} if value is None else {"TagKey": key, "TagValue": value}
    return S3Error("InvalidTag", message, extra=extra)


def tags_of_header(text: str) -> dict[str, str]:
    """The tags in `x-amz-tagging`. InvalidArgument, InvalidTag."""
    if not text:
        return {}
    try:
        pairs = parse_query(text)
    except S3Error:
        pairs = []
    names = [name for name, _ in pairs]
    if not pairs or len(set(names)) != len(names):
        raise invalid_argument(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query "
            "parameters without tag name duplicates.",
            HEADER,
            text,
        )
    return check_tags(pairs)


def tags_of_document(data: bytes) -> dict[str, str]:
    """The tags in a `Tagging` document. MalformedXML, InvalidTag."""
    root = parse_document(data, "Tagging")
    if [local_name(child) for child in root] != ["TagSet"]:
        raise S3Error("MalformedXML")
    pairs = []
    for tag in root[0]:
        texts = child_texts(tag)
        if local_name(tag) != "Tag" or texts.keys() != {"Key", "Value"}:
            raise S3Error("MalformedXML")
        pairs.append((texts["Key"], texts["Value"]))
    return check_tags(pairs)


def register_text(tags: Tags) -> str:
    """The register of tags; "" for none, which is no register."""
    return msgspec.json.encode(tags).decode() if tags else ""


def tags_in(registers: Registers) -> Tags:
    """The tags of an object that has these registers; none where they cannot be read. The result
    is shared."""
    register = registers.get(TAGS)
    return (_decoded(register.value) or {}) if register is not None else {}


def tags_to_decide_by(registers: Registers) -> Tags:
    """The same. AccessDenied where they cannot be read: nobody knows what they forbid."""
    register = registers.get(TAGS)
    if register is not None and register.value and _decoded(register.value) is None:
        raise S3Error("AccessDenied")
    return tags_in(registers)


@lru_cache(maxsize=_REMEMBERED)
def _decoded(text: str) -> Tags | None:
    try:
        return _decode(text) if text else {}
    except (msgspec.DecodeError, RecursionError):
        return None
