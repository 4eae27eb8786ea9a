"""From batches to a trained network: the loop, checkpoints, metrics and validation."""
