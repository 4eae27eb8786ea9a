"""From shards to a pretrained network: samples, clips, batches, training. Imports shardify, never eval."""
