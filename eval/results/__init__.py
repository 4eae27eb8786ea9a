"""Result rows on disk, their intervals, and the numbers of the paper that stand beside them."""
