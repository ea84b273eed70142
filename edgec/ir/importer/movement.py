"""Importing: movement."""
