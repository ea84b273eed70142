"""From ONNX to the graph: node by node, in ONNX's own order of dimensions.

`import_model` gives a graph that computes what the model computes, with every Transpose that NHWC operations need
around them; `edgec.ir.passes` takes away those that cancel. QuantizeLinear and DequantizeLinear become Quantize and
Dequantize, and everything between them stays float: which operations then compute in integers is a backend's choice.

`examine` asks the same code which nodes can't be imported, and why: the answer is what would happen.
"""

from edgec.ir.importer.model import Refused, examine, import_model

__all__ = ["Refused", "examine", "import_model"]
