"""Error documents are well-formed XML whatever a client put into them."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ERRORS, S3Error, xml_text


def test_document_has_the_elements_that_clients_read() -> None:
    error = S3Error("NoSuchKey", extra={"Key": "a<b>&'\"c"})
    document = ElementTree.fromstring(error.to_xml("REQ1", "/bucket/a"))
    assert [(e.tag, e.text) for e in document] == [
        ("Code", "NoSuchKey"),
        ("Message", "The specified key does not exist."),
        ("Resource", "/bucket/a"),
        ("Key", "a<b>&'\"c"),
        ("RequestId", "REQ1"),
    ]
    assert error.status == 404


def test_extra_resource_replaces_the_path() -> None:
    document = ElementTree.fromstring(
        S3Error("AccessDenied", extra={"Resource": "/x"}).to_xml("r", "/y")
    )
    assert [e.text for e in document.iter("Resource")] == ["/x"]


@given(st.text())
def test_any_text_gives_well_formed_xml(text: str) -> None:
    document = S3Error("InvalidArgument", text, extra={"ArgumentValue": text}).to_xml(text, text)
    ElementTree.fromstring(document)


@pytest.mark.parametrize("bad", ["\x00", "\x1b", "\x0b", "\udc80", "\ud800", "\ufffe", "\uffff"])
def test_what_xml_cannot_hold_is_replaced(bad: str) -> None:
    assert xml_text(f"a{bad}b") == "a\ufffdb"


def test_line_ends_survive() -> None:
    document = ElementTree.fromstring(S3Error("InternalError", "a\r\n\tb").to_xml("r", "/"))
    assert document.findtext("Message") == "a\r\n\tb"


def test_unknown_code_is_refused_where_it_is_raised() -> None:
    with pytest.raises(ValueError, match="NoSuchThing"):
        S3Error("NoSuchThing")


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_code_has_an_error_status_and_a_message(code: str) -> None:
    status, message = ERRORS[code]
    assert 300 <= status < 600 and message
