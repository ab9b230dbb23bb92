"""Trackers: one file each, which gets the settings of a run and a row of figures an epoch."""
