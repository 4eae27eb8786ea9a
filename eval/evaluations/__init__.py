"""The evaluations of the paper: `x.py` declares an evaluation, `x_rows.py` computes its rows."""
