"""Charts, frame pictures and short videos of results."""
