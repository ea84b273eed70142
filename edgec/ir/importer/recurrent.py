"""Importing: recurrent."""
