"""Training: augmentation, loading, the loop."""
