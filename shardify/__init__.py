"""Videos to frames to shards: the offline stage. Imports nothing from stream_train or eval."""

__version__ = "0.1.0"
