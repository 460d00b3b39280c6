"""The page of tests out of scope is read by the runner: what it says must be readable."""

import pytest
from suite_classes import PAGE, class_of, out_of_scope


def test_every_row_of_the_page_is_read():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    excluded = out_of_scope()
    patterns = [row.pattern for row in excluded]
    reasons = {line.strip("|").split("|")[1].strip() for line in rows}
    assert rows and {row.reason for row in excluded} == reasons
    assert len(set(patterns)) == len(patterns)


@pytest.mark.parametrize(
    ("test", "kind"),
    [
        ("s3tests/functional/test_s3.py::test_bucket_list_many", "listing"),
        ("s3tests/functional/test_s3.py::test_copy_enc[a-b-STANDARD-STANDARD-1]", "encryption"),
        ("s3tests/functional/test_s3.py::test_versioning_obj_suspend_versions", "versioning"),
        (
            "s3tests/functional/test_headers.py::test_object_acl_create_contentlength_none",
            "headers",
        ),
        ("s3tests/functional/test_iam.py::test_put_user_policy", "iam"),
    ],
)
def test_a_test_has_one_class(test, kind):
    assert class_of(test) == kind


def test_brackets_in_a_pattern_are_brackets():
    from suite_classes import Excluded

    row = Excluded("*::test_copy_enc[sse-*]", "")
    assert row.matches("s3tests/functional/test_s3.py::test_copy_enc[sse-c]")
    assert not row.matches("s3tests/functional/test_s3.py::test_copy_encs")
