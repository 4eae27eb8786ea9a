"""Network to features to evaluations to report. Import its modules, `from eval.x import y`: the name is a builtin's."""
