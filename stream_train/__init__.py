"""Shards to samples to clips to batches to a pretrained network. Imports shardify, never eval."""
