"""Lowering to TensorFlow Lite: our own flatbuffer, without TensorFlow.

backend.py     what the pipeline asks
support.py     which nodes can be taken
lowering.py    from an ONNX model to the graph that is written
kernels.py     what TFLite computes in integers
legal/         any graph as a legal one: what TFLite's kernels take, in the shapes and types that they take
writer/        a legal graph as a file
model_file.py, schema.py, versions.py  the file format
task_metadata.py  what tools of TFLite's own read
facts.py       what a report says of a payload
support_table.py  docs/tflite-support.md, generated
"""

from edgec.backends.tflite.backend import BACKEND

__all__ = ["BACKEND"]
