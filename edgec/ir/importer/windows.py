"""Importing: windows."""
