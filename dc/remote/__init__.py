"""Gateways on other machines: names and bytes over the private network (docs/gateways.md)."""
