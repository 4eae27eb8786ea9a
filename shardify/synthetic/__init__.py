"""The embedded demo data set: moving shapes as real video files."""
