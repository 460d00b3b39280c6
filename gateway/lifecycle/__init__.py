"""Lifecycle: rules by which objects and uploads leave by themselves."""
