"""Importing: normalization."""
