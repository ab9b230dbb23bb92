"""Runtimes: one file a runtime."""
