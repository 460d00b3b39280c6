"""Server access logs: what was asked of a bucket, as objects in another one."""
