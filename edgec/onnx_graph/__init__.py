"""Reading ONNX safely, and asking questions about a graph."""
