"""`farshore lab`: several paired datacenters on one machine, each a process of its own."""
