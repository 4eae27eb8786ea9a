"""The temporal transformations of section 3.1: index sequences, their drawing, their picture."""
