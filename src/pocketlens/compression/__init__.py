"""Compression methods: one file a method."""
