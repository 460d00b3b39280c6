"""NS, the name servers: buckets, versions, users, locations and the change feed."""
