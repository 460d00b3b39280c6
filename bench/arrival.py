"""When objects put at one datacenter are at another."""

import time

from bench.client import PAGE, S3
from bench.errors import BenchError

POLL_SECONDS = 0.005


def await_all(s3: S3, bucket: str, keys: list[str], seconds_max: float) -> float:
    """Seconds since 1970 when all keys are listed at `s3` and can be read.

    So as not to be a load itself it asks for one object only, the one put last, until that is
    there, and then lists; where the listing has a gap, it asks for what is missing there. Until
    the pairing has brought bucket and user, every answer is an error, which counts as missing.
    """
    ordered = sorted(keys)
    there = 0
    awaited = keys[-1]
    deadline = time.monotonic() + seconds_max
    while True:
        if s3.call("HEAD", bucket, awaited)[0] == 200:
            there = _advance(s3, bucket, ordered, there)
            if there == len(ordered):
                return time.time()
            awaited = ordered[there]
        if time.monotonic() > deadline:
            there = _advance(s3, bucket, ordered, there)
            raise BenchError(
                f"after {seconds_max:.0f} s {awaited} has not arrived; of {len(keys)} objects"
                f" the first {there} are there"
            )
        time.sleep(POLL_SECONDS)


def await_one(s3: S3, bucket: str, key: str, seconds_max: float) -> None:
    """Return when a key is at `s3`."""
    deadline = time.monotonic() + seconds_max
    while s3.call("HEAD", bucket, key)[0] != 200:
        if time.monotonic() > deadline:
            raise BenchError(f"after {seconds_max:.0f} s {key} has not arrived")
        time.sleep(POLL_SECONDS)


def _advance(s3: S3, bucket: str, ordered: list[str], there: int) -> int:
    """How many of the keys, from the first one on, are listed without a gap."""
    while there < len(ordered):
        page = s3.page(bucket, ordered[there - 1] if there else "", PAGE)
        matching = 0
        for found, wanted in zip(page, ordered[there:], strict=False):
            if found != wanted:
                break
            matching += 1
        there += matching
        if matching < PAGE:
            break
    return there
