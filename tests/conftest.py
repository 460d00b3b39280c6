"""What all tests have in common."""

import gc


def pytest_collection_finish() -> None:
    """The thousands of collected tests stay until the end: no garbage collection looks at them."""
    gc.collect()
    gc.freeze()
