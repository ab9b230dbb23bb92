"""Values and pure functions; needs numpy and Pillow only."""
