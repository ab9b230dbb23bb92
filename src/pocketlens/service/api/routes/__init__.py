"""One file a resource: each has a `router`; the folder is the registry."""
