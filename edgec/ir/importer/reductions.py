"""Importing: reductions."""
