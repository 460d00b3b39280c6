"""What can go wrong in a bench."""


class BenchError(Exception):
    """A figure could not be measured, or what was measured is not to be trusted; says why."""
