"""Which shelf a path is about: a module of the bundle's own, imported by middleware.py."""


def shelf_of(path):
    """The first part of a path, such as "poetry" of "/poetry/7"."""
    return path.strip("/").partition("/")[0] or "all"
