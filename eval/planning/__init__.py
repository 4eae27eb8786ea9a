"""Plans: how many clips, hours and bytes a config costs, before anyone starts it."""
