"""A build: from a catalog to committed shards, planned first, continued after a kill."""
