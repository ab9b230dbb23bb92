"""One file a screen: `show()` draws it."""
