"""Studies: many networks, each pre-trained and evaluated in one way, compared in one table."""
