"""The plug-ins that are shipped: who else is told of entries and checkpoints
(docs/notary-hooks.md)."""
