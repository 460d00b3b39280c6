"""XML of the model's shapes: elements into structures, and structures into text.

Reading is strict, since what is not understood would be ignored, and that may matter: an unknown
element, one given twice, a value that is none, or a required one that is missing is MalformedXML.
Namespaces are not looked at: clients send S3's, an older one, or none. Of attributes only the one
that the model has (`xsi:type`) is read.

What reads and writes a shape is compiled when it is first used, into closures: the walk through
the model happens once.
"""

from collections.abc import Callable
from functools import cache
from typing import Any
from xml.etree.ElementTree import Element

from gateway.errors import S3Error
from gateway.model.shapes import SHAPES, Ref, Shape
from gateway.model.structs import struct_of
from gateway.model.values import Reader, reader_of, text_of
from gateway.reply import XMLNS
from gateway.xmltext import escape, local_name

ReadElement = Callable[[Element], Any]
WriteElement = Callable[[str, Any], str]

LENIENT = frozenset(("Delete", "ObjectIdentifier", "CompletedMultipartUpload", "CompletedPart"))
"""Structures in which clients have always been allowed to say more than S3 knows."""

_XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


# -- reading ------------------------------------------------------------------------------------


@cache
def element_reader(name: str) -> ReadElement:
    """What reads an element of a shape."""
    shape = SHAPES[name]
    if shape.type == "structure":
        return _structure_reader(name, shape)
    if shape.type == "list":
        return _list_reader(shape)
    return _scalar_reader(name, shape)


def _scalar_reader(name: str, shape: Shape) -> ReadElement:
    read = reader_of(name, shape, "iso8601")

    def scalar(element: Element) -> Any:
        if len(element):
            raise S3Error("MalformedXML")
        try:
            return read(element.text or "")
        except ValueError:
            raise S3Error("MalformedXML") from None

    return scalar


def _list_reader(shape: Shape) -> ReadElement:
    assert shape.member is not None
    item = shape.member.location_name or "member"
    read = element_reader(shape.member.shape)

    def items(element: Element) -> list[Any]:
        found = []
        for child in element:
            if local_name(child) != item:
                raise S3Error("MalformedXML")
            found.append(read(child))
        return found

    return items


def _flattened(ref: Ref, shape: Shape) -> bool:
    return shape.type == "list" and (shape.flattened or ref.flattened)


def _element_name(name: str, ref: Ref, shape: Shape) -> str:
    """The name of the elements of a member."""
    if _flattened(ref, shape) and shape.member is not None and shape.member.location_name:
        return shape.member.location_name
    return ref.location_name or name


def _structure_reader(name: str, shape: Shape) -> ReadElement:
    make = struct_of(name)
    single: dict[str, tuple[str, ReadElement]] = {}
    many: dict[str, tuple[str, ReadElement]] = {}
    attributes: dict[str, tuple[str, Reader]] = {}
    for member, ref in shape.members.items():
        inner = SHAPES[ref.shape]
        element = _element_name(member, ref, inner)
        if ref.xml_attribute:
            read = reader_of(ref.shape, inner, "iso8601")
            attributes[element.rpartition(":")[2]] = (member, read)
        elif _flattened(ref, inner):
            assert inner.member is not None
            many[element] = member, element_reader(inner.member.shape)
        else:
            single[element] = member, element_reader(ref.shape)
    required = tuple(shape.required)
    strict = name not in LENIENT

    def structure(element: Element) -> Any:
        members: dict[str, Any] = {}
        for child in element:
            tag = local_name(child)
            if (found := single.get(tag)) is not None:
                if found[0] in members:
                    raise S3Error("MalformedXML")
                members[found[0]] = found[1](child)
            elif (found := many.get(tag)) is not None:
                members.setdefault(found[0], []).append(found[1](child))
            elif strict:
                raise S3Error("MalformedXML")
        if attributes:
            _read_attributes(element, attributes, members)
        for needed in required:
            if needed not in members:
                raise S3Error("MalformedXML")
        return make(**members)

    return structure


def _read_attributes(
    element: Element, known: dict[str, tuple[str, Reader]], members: dict[str, Any]
) -> None:
    for name, text in element.attrib.items():
        found = known.get(name.rpartition("}")[2])
        if found is not None:
            try:
                members[found[0]] = found[1](text)
            except ValueError:
                raise S3Error("MalformedXML") from None


# -- writing ------------------------------------------------------------------------------------


@cache
def element_writer(name: str) -> WriteElement:
    """What writes an element, given its name and value. A structure may be given as a dict."""
    shape = SHAPES[name]
    if shape.type == "structure":
        inside = members_writer(name)
        if any(ref.xml_attribute for ref in shape.members.values()):
            return _typed_writer(shape, inside)
        return lambda tag, value: f"<{tag}>{inside(value)}</{tag}>"
    if shape.type == "list":
        assert shape.member is not None
        item, write = shape.member.location_name or "member", element_writer(shape.member.shape)
        return lambda tag, value: f"<{tag}>{''.join(write(item, one) for one in value)}</{tag}>"
    date_format = shape.timestamp_format or "iso8601"
    return lambda tag, value: f"<{tag}>{escape(text_of(value, date_format))}</{tag}>"


def _typed_writer(shape: Shape, inside: Callable[[Any], str]) -> WriteElement:
    """Of a structure with an `xsi:type`."""
    member, ref = next((name, ref) for name, ref in shape.members.items() if ref.xml_attribute)

    def write(tag: str, value: Any) -> str:
        kind = member_of(value, member)
        attribute = f' {ref.location_name}="{escape(kind)}"' if kind is not None else ""
        return f"<{tag} {_XSI}{attribute}>{inside(value)}</{tag}>"

    return write


@cache
def members_writer(name: str) -> Callable[[Any], str]:
    """What writes the elements of the members of a structure that stand in a body."""
    shape = SHAPES[name]
    steps: list[tuple[str, str, bool, WriteElement]] = []
    for member, ref in shape.members.items():
        inner = SHAPES[ref.shape]
        if ref.location or ref.xml_attribute:
            continue
        flat = _flattened(ref, inner)
        target = inner.member.shape if flat and inner.member is not None else ref.shape
        steps.append((member, _element_name(member, ref, inner), flat, element_writer(target)))

    def inside(value: Any) -> str:
        pieces: list[str] = []
        for member, tag, flat, write in steps:
            found = member_of(value, member)
            if found is None:
                continue
            if flat:
                pieces += [write(tag, one) for one in found]
            else:
                pieces.append(write(tag, found))
        return "".join(pieces)

    return inside


def member_of(value: Any, name: str) -> Any:
    """A member of a structure, None when it is absent, also in one of a like shape (GetObjectAcl
    answers one member more than GetBucketAcl does)."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def document(root: str, name: str, value: Any) -> str:
    """A whole document: a structure of the shape `name` as the element `root`."""
    return f"<{root} {XMLNS}>{members_writer(name)(value)}</{root}>"
