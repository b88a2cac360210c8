"""The package `tyk`, as plugins see it."""
