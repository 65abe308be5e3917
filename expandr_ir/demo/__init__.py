"""The embedded collection: documentation of the Python standard library, read from the running interpreter."""
