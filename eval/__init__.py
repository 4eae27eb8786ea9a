"""Network -> features -> evaluations -> report. Use `from eval.x import y`: `import eval` hides Python's `eval`."""
