"""Lowering to TensorFlow Lite: our own flatbuffer, without TensorFlow.

model_file.py, schema.py, versions.py  the file format
writer/    a legal graph as a file
legal/     any graph as a legal one: what TFLite's kernels take, in the shapes and types that they take
kernels.py what TFLite computes in integers
"""
