"""Result rows on disk, their intervals, and the paper's numbers for comparison."""
