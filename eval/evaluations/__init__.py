"""The evaluations of the paper, one file each: a question put to networks, and the rows that answer it."""
