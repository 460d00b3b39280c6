"""What a test of ceph/s3-tests is about, and which of them are out of scope.

The list of tests out of scope is the table in docs/s3-tests.md: a row is a list of patterns in
backquotes and the reason. There is no other list, so that the page says what the runner does.
"""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "s3-tests.md"

CLASSES = (
    ("logging", r"logging"),
    ("notification", r"notification|topic"),
    ("lifecycle", r"lifecycle|delete_marker_expiration"),
    ("object lock", r"object_lock|object_legal_hold"),
    ("CORS", r"cors"),
    ("encryption", r"sse|encrypt|copy_enc|copy_part_enc"),
    ("policy", r"policy|policies|block_public|public_block|public_acls"),
    ("POST", r"post_object"),
    ("versioning", r"version|delete_marker"),
    ("conditional", r"if_?match|if_?none_?match|ifnonmatch|ifmodified|ifunmodified|if_match"),
    ("tagging", r"tag"),
    ("checksums", r"checksum|cksum|object_attributes|crc"),
    ("copy", r"copy"),
    ("multipart", r"multipart|mpu"),
    ("ownership", r"ownership|create_bucket_(?:no|bucket_owner|object_writer)|object_writer"),
    ("ACL", r"acl|access_bucket|grant"),
    ("listing", r"list|key_count"),
    ("presigned and raw", r"raw|presigned|anon|authenticated"),
    ("buckets", r"bucket"),
    ("objects", r""),
)
"""The first whose pattern is in the name of a test is the class of it."""
CORE = (
    "core: buckets, objects, listing, multipart, copy, versioning, ACL, conditional, checksums,"
    " tagging, presigned, POST, headers"
)
APART = ("policy", "lifecycle", "CORS", "object lock", "encryption", "logging", "notification")
"""Classes that the suite's users count each for itself; all others are the core."""

_ROW = re.compile(r"^\| (`.*`) \| (.+) \|$")


class Excluded(NamedTuple):
    """Tests that match `pattern` are out of scope, for this reason."""

    pattern: str
    reason: str

    def matches(self, test: str) -> bool:
        return fnmatchcase(short(test), self.pattern.replace("[", "[[]"))


def short(test: str) -> str:
    """The id of a test without its folder."""
    return test.rpartition("/")[2]


def class_of(test: str) -> str:
    file, _, name = short(test).partition("::")
    if file == "test_headers.py":
        return "headers"
    if file != "test_s3.py":
        return file.removeprefix("test_").removesuffix(".py")
    return next(kind for kind, pattern in CLASSES if re.search(pattern, name))


def out_of_scope(page: Path = PAGE) -> list[Excluded]:
    """The rows of the table, a pattern each."""
    rows = [match for line in page.read_text().splitlines() if (match := _ROW.match(line))]
    return [
        Excluded(pattern, row[2]) for row in rows for pattern in re.findall(r"`([^`]+)`", row[1])
    ]
