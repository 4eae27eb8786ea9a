"""Finished shards: checked, summarised and drawn."""
