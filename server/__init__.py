"""The same pipeline over HTTP."""
