"""OS, the object servers: containers of checksummed records on disk."""
