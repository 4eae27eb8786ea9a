"""Shared by all evaluations: networks, videos, settings, training, and testing every video once."""
