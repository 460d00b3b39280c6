"""Requests that botocore makes are read back to what was asked, and what we answer is read by
botocore as what was given: for every operation of the model."""

from typing import Any

import pytest
from gateway_kit import REGION
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from model_kit import SERVICE, members, parsed, plain, read_input, request_of

from gateway.model.matching import BUCKET, OBJECT, ROOT, find_name
from gateway.model.shapes import OPERATIONS, SHAPES
from gateway.model.structs import struct_of
from gateway.model.writer import output, writer

_BODY_SUMS = ("ContentMD5", "Checksum", "SdkChecksum")
# botocore makes a date of Expires, which S3 does not.


def _streams(shape: Any) -> bool:
    payload = shape.serialization.get("payload") if shape is not None else None
    if payload is None:
        return False
    inner = shape.members[payload]
    return bool(inner.type_name == "blob" or inner.serialization.get("eventstream"))


MODELS = {name: SERVICE.operation_model(name) for name in OPERATIONS}
NEVER_READ = {"SelectObjectContent", "UpdateObjectEncryption"}
"""Which this gateway does not have, and whose input is like no other's."""
READ = [
    name
    for name, model in MODELS.items()
    if not _streams(model.input_shape) and name not in NEVER_READ
]
WRITTEN = [
    name
    for name, model in MODELS.items()
    if model.output_shape is not None
    and not _streams(model.output_shape)
    and name != "GetBucketLocation"
]
SLOW = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def _asked(name: str) -> st.SearchStrategy[dict[str, Any]]:
    shape = MODELS[name].input_shape
    if shape is None:
        return st.just({})
    skip = _BODY_SUMS if shape.serialization.get("payload") else ("ContentMD5",)
    return members(shape, (*skip, "Expires"))


@pytest.mark.parametrize("name", READ)
def test_what_botocore_asks_is_read(name: str) -> None:
    @SLOW
    @given(_asked(name))
    def check(asked: dict[str, Any]) -> None:
        if "Bucket" in asked:
            asked["Bucket"] = "photos"
        request = request_of(MODELS[name], asked)
        kind = OBJECT if request.target.key else BUCKET if request.target.bucket else ROOT
        assert find_name(kind, request.method, request.target.query, request.headers) == name
        assume(request.body or not MODELS[name].input_shape.serialization.get("payload"))
        found = plain(read_input(name, request))
        found.pop("ContentMD5", None)
        assert found == asked

    check()


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_answered_botocore_reads(name: str) -> None:
    @SLOW
    @given(members(MODELS[name].output_shape, ("Expires",)))
    def check(answered: dict[str, Any]) -> None:
        found = parsed(MODELS[name], writer(name)(output(name, **answered)))
        assert _without_nothing(found) == _without_nothing(answered)

    check()


def _without_nothing(value: dict[str, Any]) -> dict[str, Any]:
    """A payload that is not there is sent as an empty document."""
    return {name: one for name, one in value.items() if one not in ({}, "")}


def test_the_location_is_the_root_itself() -> None:
    write = writer("GetBucketLocation")
    assert write(output("GetBucketLocation", LocationConstraint=REGION)).body.endswith(
        f">{REGION}</LocationConstraint>".encode()
    )
    assert write(output("GetBucketLocation", LocationConstraint="")).body.endswith(b"/>")


@pytest.mark.parametrize(
    "name", [name for name, shape in SHAPES.items() if name.endswith("Configuration")]
)
def test_settings_come_back_from_their_text(name: str) -> None:
    import msgspec

    shape = SERVICE.shape_for(name)

    @SLOW
    @given(members(shape))
    def check(asked: dict[str, Any]) -> None:
        made = msgspec.convert(asked, struct_of(name))
        text = msgspec.json.encode(made)
        assert msgspec.json.decode(text, type=struct_of(name)) == made
        assert plain(made) == asked

    check()
