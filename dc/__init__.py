"""What a datacenter is made of: clock, disk, names (NS), objects (OS)."""
