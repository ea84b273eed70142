"""Importing: quantization."""
