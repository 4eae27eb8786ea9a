"""Videos inside tar archives: each archive is read once, from first to last byte."""
