"""Disks on other machines of the datacenter."""
