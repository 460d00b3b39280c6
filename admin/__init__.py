"""The composition root: CLI, admin API, lab."""
