"""The parts of the bench that measure nothing: signing, reading what others say, figures."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from bench import proc, wrk
from bench.cli import main
from bench.errors import BenchError
from bench.presign import Presigner
from bench.profiling import parse as parse_stacks
from bench.profiling import split
from bench.report import Result, number, table
from bench.rows import ROWS
from bench.stats import percentile

ADDRESS, ACCESS_KEY, SECRET_KEY, REGION = "127.0.0.1:8000", "FSEXAMPLE", "secret/+key", "paris"
STAT = "4242 (a (very) odd name) S 17 4242 4242 0 -1 4194560 9 9 0 0 150 50 30 20 20 0 7 0 1 2 3\n"


def botocore_target(operation: str, **params: Any) -> str:
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{ADDRESS}",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name=REGION,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    url = client.generate_presigned_url(operation, Params=params, ExpiresIn=3600)
    return url.removeprefix(f"http://{ADDRESS}")


def presigner(target: str) -> Presigner:
    """For the moment at which a target was signed."""
    stamp = re.search(r"X-Amz-Date=(\w+)", target)
    assert stamp
    when = datetime.strptime(stamp[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return Presigner(ADDRESS, ACCESS_KEY, SECRET_KEY, REGION, when, expires_seconds=3600)


def unordered(target: str) -> tuple[str, list[str]]:
    """The order of the query's fields is not part of what is signed."""
    path, _, query = target.partition("?")
    return path, sorted(query.split("&"))


@pytest.mark.parametrize("key", ["object-00000001", "a/b c+d~e", "é&ü=ß?#%"])
@pytest.mark.parametrize(
    ("operation", "method"),
    [("put_object", "PUT"), ("get_object", "GET"), ("head_object", "HEAD")],
)
def test_signs_objects_as_botocore_does(operation: str, method: str, key: str) -> None:
    target = botocore_target(operation, Bucket="bucket", Key=key)
    assert unordered(presigner(target).path(method, "bucket", key)) == unordered(target)


def test_signs_listings_as_botocore_does() -> None:
    target = botocore_target("list_objects_v2", Bucket="b", MaxKeys=1000, StartAfter="a b/c")
    given = re.findall(r"[?&]([a-z-]+)=([^&]*)", target)
    query = [(name, value.replace("%20", " ").replace("%2F", "/")) for name, value in given]
    assert unordered(presigner(target).path("GET", "b", query=query)) == unordered(target)


def test_signs_many_as_it_signs_one() -> None:
    signer = Presigner(ADDRESS, ACCESS_KEY, SECRET_KEY, REGION, datetime.now(UTC))
    keys = [f"object-{number:08d}" for number in range(100)]
    assert signer.paths("PUT", "b", keys) == [signer.path("PUT", "b", key) for key in keys]


RESULT = (
    "Running 3s test @ http://127.0.0.1:8000/\n"
    'bench-result {"requests": 30, "seconds": 3.0, "bytes": 900, "started": 1.5, "ended": 0,'
    ' "p50_ms": 1.0, "p99_ms": 2.0, "max_ms": 3.0,'
    ' "errors": {"connect": 0, "read": 0, "write": 0, "timeout": 0, "status": %d}}\n'
)


def test_reads_what_wrk_says() -> None:
    result = wrk.parse(RESULT % 0)
    assert (result["requests"], result["seconds"]) == (30, 3.0)


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        (RESULT % 7, "errors among 30 answers: 7 status"),
        ("unable to connect to 127.0.0.1:1 Connection refused\n", "Connection refused"),
        ("", "nothing"),
        ((RESULT % 0).replace('"requests": 30', '"requests": 0'), "not one"),
    ],
)
def test_errors_among_the_answers_are_no_result(output: str, complaint: str) -> None:
    with pytest.raises(BenchError, match=complaint):
        wrk.parse(output)


def test_percentile_is_the_nearest_rank() -> None:
    samples = [float(each) for each in range(100, 0, -1)]
    assert [percentile(samples, each) for each in (1, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([7.0], 50) == 7.0
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)


def test_reads_what_the_kernel_says() -> None:
    assert proc.parse_stat(STAT) == proc.Stat(parent=17, ticks=250)
    assert proc.parse_kilobytes("VmPeak: 9 kB\nVmRSS:\t    12 kB\n", "VmRSS") == 12 * 1024
    assert proc.parse_kilobytes("VmPeak: 9 kB\n", "Pss") == 0
    machine = proc.parse_machine("cpu  100 20 30 4000 50 6 4 700 0 0\ncpu0 1 2 3\n")
    assert machine == proc.Machine(160 / proc.TICKS_PER_SECOND, 700 / proc.TICKS_PER_SECOND)


def test_sees_this_process() -> None:
    seen = proc.memory(os.getpid())
    assert 0 < seen.pss <= seen.rss <= seen.peak
    assert proc.cpu_seconds(os.getpid()) > 0
    assert os.getpid() in proc.tree(os.getppid())


def test_reads_profiles() -> None:
    text = "process 1;thread (1): MainThread;main (a.py:1);Runner.run (b.py:2);f (c.py:3) 42\n"
    [(frames, count)] = parse_stacks(text + "nonsense\n")
    assert count == 42
    assert split(frames) == ("thread (1): MainThread", ["f (c.py:3)"])


def test_the_table_says_what_was_reached_and_what_failed() -> None:
    rows = {row.name: row for row in ROWS}
    results = [
        Result(rows["put4k"], {"rate": 4000.0, "cpu_ms": 0.5, "other_cores": 0.5}),
        Result(rows["lag"], {"p50_ms": 9.0, "p99_ms": 40.0}),
        Result(rows["get4k"], failure="errors among 10 answers: 1 status"),
    ]
    assert [result.verdict for result in results] == ["CPU missed", "reached", "FAILED"]
    shown = table(results)
    assert "4,000 /s" in shown
    assert "9.00 / 40.0 ms" in shown
    assert "get4k: errors among" in shown
    assert "than they are: put4k" in shown
    assert [number(each) for each in (12345.6, 12.34, 0.123)] == ["12,346", "12.3", "0.12"]


def test_lists_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.startswith("rss-idle")


def test_says_how_to_install_wrk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--only", "put4k"]) == 1
    assert "apt install wrk" in capsys.readouterr().err


def test_every_row_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()
    assert [row.name for row in ROWS if f"`{row.name}`" not in page] == []
