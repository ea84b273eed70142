"""Importing: products."""
