"""One HTML page of a run: results, tables, curves, pictures, data and configs."""
