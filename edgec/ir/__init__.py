"""The small NHWC graph between ONNX and the backends that generate code: TFLite and TVM lower from it.

graph.py       values, operations, the graph itself
kinds/         what operations there are, one dataclass a kind
inference.py   the types of an operation's results
builder.py     how graphs are written
verifier.py    what must hold between any two passes
dump.py        a graph as text that diffs well
importer/      from ONNX, float or QDQ
passes/        from graph to graph
reference/     a numpy executor with exact integer semantics
"""
