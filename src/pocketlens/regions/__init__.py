"""Ways to find the part of a photo to classify: one file each."""
