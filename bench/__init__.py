"""The bench: what the server does per second, and what it costs. `docs/performance.md` explains."""
