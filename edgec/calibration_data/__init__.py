"""Calibration data: what lies in the user's files, how it becomes samples, and what the model really saw."""
