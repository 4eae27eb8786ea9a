"""The shard contract: names, index, manifest and records."""
