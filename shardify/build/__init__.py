"""A build: from a catalog to committed shards. It is planned first, and continues after a kill."""
