"""Checks, summaries and pictures of finished shards."""
