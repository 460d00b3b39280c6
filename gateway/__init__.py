"""The S3 protocol: authentication, routing and the operations."""
