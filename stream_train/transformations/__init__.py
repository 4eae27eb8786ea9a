"""The temporal transformations of section 3.1: index sequences, random draws of them, and their picture."""
