"""Every published flaw that docs/security.md names is named by a test that the same row links, and
every one that a test names is in the page."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
NUMBER = re.compile(r"CVE-\d{4}-\d+|GHSA-[0-9a-z]{4}(?:-[0-9a-z]{4}-[0-9a-z]{4})?")
LINK = re.compile(r"\]\(([^)]+\.py)\)")


def rows() -> dict[str, tuple[set[str], list[Path]]]:
    """Numbers and tests by class."""
    found = {}
    for line in PAGE.read_text().splitlines():
        if LINK.search(line) and line.startswith("|"):
            name, numbers, tests = (cell.strip() for cell in line.strip("|").split("|"))
            files = [(PAGE.parent / link).resolve() for link in LINK.findall(tests)]
            found[name] = set(NUMBER.findall(numbers)), files
    return found


def test_every_number_is_named_by_a_test_of_its_row() -> None:
    assert len(rows()) > 18
    for name, (numbers, files) in rows().items():
        assert files and all(file.is_file() for file in files), name
        said = set(NUMBER.findall("".join(file.read_text() for file in files)))
        assert numbers <= said, f"{name}: no test of the row names {numbers - said}"


def test_every_number_that_a_test_names_is_in_the_page() -> None:
    listed = {number for numbers, _ in rows().values() for number in numbers}
    assert len(listed) > 60
    said = {
        number
        for path in (ROOT / "tests").rglob("*.py")
        for number in NUMBER.findall(path.read_text())
    }
    assert said == listed


def test_every_file_of_this_folder_is_in_the_page() -> None:
    linked = {file for _, files in rows().values() for file in files}
    here = set(Path(__file__).parent.glob("test_*.py")) - {Path(__file__)}
    assert here <= linked
