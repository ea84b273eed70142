"""Small .tflite files, written by hand: what the compiler would be given."""

from dataclasses import dataclass, field

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "uint8": schema.TensorType.UINT8,
}


@dataclass
class Net:
    """A network in the writing. Tensors are named; an operator's results are int8 unless said otherwise."""

    model: schema.ModelT = field(default_factory=schema.ModelT)

    def __post_init__(self):
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        graph = schema.SubGraphT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
        self.model.subgraphs = [graph]
        self.graph = graph
        self.names = {}

    def tensor(self, name, shape, dtype="int8", data=None, scales=(0.1,), zero_point=0):
        item = schema.TensorT()
        item.name, item.shape, item.type = name.encode(), list(shape), _TYPES[dtype]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, dtype).tobytes(), np.uint8)
            item.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        if scales and dtype in ("int8", "uint8", "int16"):
            item.quantization = schema.QuantizationParametersT()
            item.quantization.scale = list(scales)
            item.quantization.zeroPoint = [zero_point] * len(scales)
        self.names[name] = len(self.graph.tensors)
        self.graph.tensors.append(item)
        return name

    def input(self, name, shape, dtype="int8"):
        self.tensor(name, shape, dtype)
        self.graph.inputs.append(self.names[name])
        return name

    def constant(self, name, data, dtype="int32", scales=(0.1,), zero_point=0):
        data = np.asarray(data)
        return self.tensor(name, data.shape, dtype, data, scales, zero_point)

    def add(self, operator, inputs, output, shape, dtype="int8", version=1, **options):
        """One operator with one result; options by their names in the schema's Python classes."""
        self.tensor(output, shape, dtype)
        return self.add_to(operator, inputs, [output], version, **options)

    def add_to(self, operator, inputs, outputs, version=1, **options):
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, operator)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = version
        item = schema.OperatorT()
        item.opcodeIndex = len(self.model.operatorCodes)
        self.model.operatorCodes.append(code)
        item.inputs = [-1 if name is None else self.names[name] for name in inputs]
        item.outputs = [self.names[name] for name in outputs]
        kind = _OPTIONS.get(operator)
        if kind is not None:
            item.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            item.builtinOptions = getattr(schema, f"{kind}T")()
            for key, value in options.items():
                assert hasattr(item.builtinOptions, key), key
                setattr(item.builtinOptions, key, value)
        self.graph.operators.append(item)
        return outputs[0]

    def conv(self, source, output, shape, kernel=1, groups=1, scales=(0.1,), **options):
        """A CONV_2D from `source`, with weights and a bias."""
        channels = self.graph.tensors[self.names[source]].shape[-1]
        weights = np.zeros((shape[-1], kernel, kernel, channels // groups))
        self.constant(f"{output}/w", weights, "int8", scales)
        self.constant(f"{output}/b", np.zeros(shape[-1]))
        return self.add("CONV_2D", [source, f"{output}/w", f"{output}/b"], output, shape, version=3, **options)

    def file(self, *outputs):
        """The bytes of the file."""
        self.graph.outputs = [self.names[name] for name in outputs]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


_OPTIONS = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "MEAN": "ReducerOptions",
    "PACK": "PackOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SPLIT": "SplitOptions",
    "SQUEEZE": "SqueezeOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
}
