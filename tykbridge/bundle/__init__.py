"""Bundles: folders of plugin code, each loaded into a namespace of its own."""
