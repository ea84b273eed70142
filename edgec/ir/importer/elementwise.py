"""Importing: elementwise."""
