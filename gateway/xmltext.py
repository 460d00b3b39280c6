"""Text in and out of XML.

In: documents that clients send, with a size limit, without DTD and entities (defusedxml), elements
of any namespace, unknown ones ignored, as S3 does. Out: escaping of keys. Characters that XML 1.0
cannot hold are written as numeric references, as S3 does; a client that may meet them asks for
`encoding-type=url`, where keys are percent-encoded.

A listing holds a thousand keys, and nearly never one that needs escaping: `key_writer` looks at all
of them in one pass and then, mostly, gives a function that does nothing.
"""

from collections.abc import Callable, Iterable
from urllib.parse import quote
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml import DefusedXmlException  # type: ignore[import-untyped]
from defusedxml.ElementTree import DefusedXMLParser  # type: ignore[import-untyped]

from gateway.errors import S3Error
from gateway.limits import XML_ATTRIBUTES_MAX, XML_ELEMENTS_MAX

_URL_SAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/"
_ESCAPES: dict[int, str] = {
    **{code: f"&#x{code:x};" for code in (*range(0x20), 0x7F, 0xFFFE, 0xFFFF)},
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord('"'): "&quot;",
}
_PLAIN = bytes(byte for byte in range(0x20, 0xEF) if chr(byte) not in '&<>"\x7f') + bytes(
    range(0xF0, 0x100)
)
"""Bytes of UTF-8 that need no escaping, without 0xEF, with which U+FFFE and U+FFFF begin."""


def escape(text: str) -> str:
    """`text` for the inside of an element."""
    return text.translate(_ESCAPES)


def url_encode(text: str) -> str:
    """`text` as `encoding-type=url` has it."""
    return quote(text, safe="/")


def key_writer(keys: Iterable[str], url: bool) -> Callable[[str], str] | None:
    """What makes each of `keys` fit for XML, None when nothing is to be done."""
    together = "".join(keys).encode("utf-8", "replace")
    if url:
        return url_encode if together.translate(None, _URL_SAFE) else None
    return escape if together.translate(None, _PLAIN) else None


class _BoundedBuilder(TreeBuilder):
    """Refuses what no document of ours needs, before it takes the memory: an element of four bytes
    takes a hundred here."""

    def __init__(self) -> None:
        super().__init__()
        self._left = XML_ELEMENTS_MAX

    def start(self, tag: str, attrs: dict[str, str]) -> Element:
        self._left -= 1
        if self._left < 0 or len(attrs) > XML_ATTRIBUTES_MAX:
            raise ValueError("too many elements or attributes")
        return super().start(tag, attrs)


def parse_document(data: bytes, root: str) -> Element:
    """The root element of a document, which must be `root`. MalformedXML."""
    try:
        parser = DefusedXMLParser(target=_BoundedBuilder(), forbid_dtd=True)
        parser.feed(data)
        element: Element = parser.close()
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        raise S3Error("MalformedXML") from None
    if local_name(element) != root:
        raise S3Error("MalformedXML")
    return element


def local_name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def children(element: Element, name: str) -> list[Element]:
    return [child for child in element if local_name(child) == name]


def child_texts(element: Element) -> dict[str, str]:
    """The texts of the children by name. One given twice is MalformedXML."""
    found: dict[str, str] = {}
    for child in element:
        name = local_name(child)
        if name in found:
            raise S3Error("MalformedXML")
        found[name] = child.text or ""
    return found
