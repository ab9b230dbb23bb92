"""The web page: it speaks to the service over HTTP alone, and has no logic of its own."""
