"""Who may do what: policies of buckets, access control lists, ownership; and what may be asked."""
