"""Measuring artifacts beside each other and beside the original, fairly.

subjects.py         what can be measured: an artifact, or a model in ONNX Runtime; what is checked before any starts
subject_process.py  each subject in a process of its own: its memory and its crashes are its own
comparison.py       turns for all subjects, figures of each, ratios with their confidence intervals, gates

What times amount to is in edgec/runtime, which an artifact carries: its own `bench` gives the same figures.
"""
