"""Reports: one renderer a file, pure functions of a comparison."""
