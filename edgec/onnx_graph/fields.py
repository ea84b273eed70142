"""The fields of every ONNX message, as far as IR version 14 (onnx 1.23) knows them.

One line a message: field number to (name, kind). A kind in capitals is a message of its own, "*" marks a repeated
field. Scalars: int (varint), float (4 bytes), double (8 bytes), text (UTF-8), bytes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `message` is the name of the nested message, "" for a scalar of kind `scalar`."""

    name: str
    message: str
    scalar: str
    repeated: bool


_TABLE: dict[str, dict[int, tuple[str, str]]] = {
    "Model": {
        1: ("ir_version", "int"),
        2: ("producer_name", "text"),
        3: ("producer_version", "text"),
        4: ("domain", "text"),
        5: ("model_version", "int"),
        6: ("doc_string", "text"),
        7: ("graph", "Graph"),
        8: ("opset_import", "OperatorSetId*"),
        14: ("metadata_props", "StringStringEntry*"),
        20: ("training_info", "TrainingInfo*"),
        25: ("functions", "Function*"),
        26: ("configuration", "DeviceConfiguration*"),
    },
    "Graph": {
        1: ("node", "Node*"),
        2: ("name", "text"),
        5: ("initializer", "Tensor*"),
        10: ("doc_string", "text"),
        11: ("input", "ValueInfo*"),
        12: ("output", "ValueInfo*"),
        13: ("value_info", "ValueInfo*"),
        14: ("quantization_annotation", "TensorAnnotation*"),
        15: ("sparse_initializer", "SparseTensor*"),
        16: ("metadata_props", "StringStringEntry*"),
    },
    "Node": {
        1: ("input", "text*"),
        2: ("output", "text*"),
        3: ("name", "text"),
        4: ("op_type", "text"),
        5: ("attribute", "Attribute*"),
        6: ("doc_string", "text"),
        7: ("domain", "text"),
        8: ("overload", "text"),
        9: ("metadata_props", "StringStringEntry*"),
        10: ("device_configurations", "NodeDeviceConfiguration*"),
    },
    "Attribute": {
        1: ("name", "text"),
        2: ("f", "float"),
        3: ("i", "int"),
        4: ("s", "bytes"),
        5: ("t", "Tensor"),
        6: ("g", "Graph"),
        7: ("floats", "float*"),
        8: ("ints", "int*"),
        9: ("strings", "bytes*"),
        10: ("tensors", "Tensor*"),
        11: ("graphs", "Graph*"),
        13: ("doc_string", "text"),
        14: ("tp", "Type"),
        15: ("type_protos", "Type*"),
        20: ("type", "int"),
        21: ("ref_attr_name", "text"),
        22: ("sparse_tensor", "SparseTensor"),
        23: ("sparse_tensors", "SparseTensor*"),
    },
    "Tensor": {
        1: ("dims", "int*"),
        2: ("data_type", "int"),
        3: ("segment", "Segment"),
        4: ("float_data", "float*"),
        5: ("int32_data", "int*"),
        6: ("string_data", "bytes*"),
        7: ("int64_data", "int*"),
        8: ("name", "text"),
        9: ("raw_data", "bytes"),
        10: ("double_data", "double*"),
        11: ("uint64_data", "int*"),
        12: ("doc_string", "text"),
        13: ("external_data", "StringStringEntry*"),
        14: ("data_location", "int"),
        16: ("metadata_props", "StringStringEntry*"),
    },
    "Segment": {1: ("begin", "int"), 2: ("end", "int")},
    "SparseTensor": {1: ("values", "Tensor"), 2: ("indices", "Tensor"), 3: ("dims", "int*")},
    "ValueInfo": {
        1: ("name", "text"),
        2: ("type", "Type"),
        3: ("doc_string", "text"),
        4: ("metadata_props", "StringStringEntry*"),
    },
    "Type": {
        1: ("tensor_type", "TensorType"),
        4: ("sequence_type", "ElementType"),
        5: ("map_type", "MapType"),
        6: ("denotation", "text"),
        7: ("opaque_type", "OpaqueType"),
        8: ("sparse_tensor_type", "TensorType"),
        9: ("optional_type", "ElementType"),
    },
    "TensorType": {1: ("elem_type", "int"), 2: ("shape", "Shape")},
    "ElementType": {1: ("elem_type", "Type")},
    "MapType": {1: ("key_type", "int"), 2: ("value_type", "Type")},
    "OpaqueType": {1: ("domain", "text"), 2: ("name", "text")},
    "Shape": {1: ("dim", "Dimension*")},
    "Dimension": {1: ("dim_value", "int"), 2: ("dim_param", "text"), 3: ("denotation", "text")},
    "Function": {
        1: ("name", "text"),
        4: ("input", "text*"),
        5: ("output", "text*"),
        6: ("attribute", "text*"),
        7: ("node", "Node*"),
        8: ("doc_string", "text"),
        9: ("opset_import", "OperatorSetId*"),
        10: ("domain", "text"),
        11: ("attribute_proto", "Attribute*"),
        12: ("value_info", "ValueInfo*"),
        13: ("overload", "text"),
        14: ("metadata_props", "StringStringEntry*"),
    },
    "TrainingInfo": {
        1: ("initialization", "Graph"),
        2: ("algorithm", "Graph"),
        3: ("initialization_binding", "StringStringEntry*"),
        4: ("update_binding", "StringStringEntry*"),
    },
    "OperatorSetId": {1: ("domain", "text"), 2: ("version", "int")},
    "StringStringEntry": {1: ("key", "text"), 2: ("value", "text")},
    "TensorAnnotation": {1: ("tensor_name", "text"), 2: ("quant_parameter_tensor_names", "StringStringEntry*")},
    "DeviceConfiguration": {1: ("name", "text"), 2: ("num_devices", "int"), 3: ("device", "text*")},
    "NodeDeviceConfiguration": {
        1: ("configuration_id", "text"),
        2: ("sharding_spec", "ShardingSpec*"),
        3: ("pipeline_stage", "int"),
    },
    "ShardingSpec": {
        1: ("tensor_name", "text"),
        2: ("device", "int*"),
        3: ("index_to_device_group_map", "IntIntListEntry*"),
        4: ("sharded_dim", "ShardedDim*"),
    },
    "IntIntListEntry": {1: ("key", "int"), 2: ("value", "int*")},
    "ShardedDim": {1: ("axis", "int"), 2: ("simple_sharding", "SimpleShardedDim*")},
    "SimpleShardedDim": {1: ("dim_value", "int"), 2: ("dim_param", "text"), 3: ("num_shards", "int")},
}


def _field(name: str, kind: str) -> Field:
    base = kind.rstrip("*")
    return Field(name, base if base in _TABLE else "", "" if base in _TABLE else base, kind.endswith("*"))


MESSAGES: dict[str, dict[int, Field]] = {
    message: {number: _field(*entry) for number, entry in table.items()} for message, table in _TABLE.items()
}


@dataclass(frozen=True)
class ElementType:
    """How a tensor's elements are stored: `bits` an element in raw_data, and where they stand if not in raw_data.

    typed: the field; per_entry: elements that one entry of it holds (0.5: two entries an element).
    """

    name: str
    bits: int
    typed: str
    per_entry: float = 1


ELEMENT_TYPES: dict[int, ElementType] = {
    1: ElementType("float32", 32, "float_data"),
    2: ElementType("uint8", 8, "int32_data"),
    3: ElementType("int8", 8, "int32_data"),
    4: ElementType("uint16", 16, "int32_data"),
    5: ElementType("int16", 16, "int32_data"),
    6: ElementType("int32", 32, "int32_data"),
    7: ElementType("int64", 64, "int64_data"),
    8: ElementType("string", 0, "string_data"),
    9: ElementType("bool", 8, "int32_data"),
    10: ElementType("float16", 16, "int32_data"),
    11: ElementType("float64", 64, "double_data"),
    12: ElementType("uint32", 32, "uint64_data"),
    13: ElementType("uint64", 64, "uint64_data"),
    14: ElementType("complex64", 64, "float_data", 0.5),
    15: ElementType("complex128", 128, "double_data", 0.5),
    16: ElementType("bfloat16", 16, "int32_data"),
    17: ElementType("float8e4m3fn", 8, "int32_data"),
    18: ElementType("float8e4m3fnuz", 8, "int32_data"),
    19: ElementType("float8e5m2", 8, "int32_data"),
    20: ElementType("float8e5m2fnuz", 8, "int32_data"),
    21: ElementType("uint4", 4, "int32_data", 2),
    22: ElementType("int4", 4, "int32_data", 2),
    23: ElementType("float4e2m1", 4, "int32_data", 2),
    24: ElementType("float8e8m0", 8, "int32_data"),
    25: ElementType("uint2", 2, "int32_data", 4),
    26: ElementType("int2", 2, "int32_data", 4),
    27: ElementType("float6e2m3", 6, "int32_data"),
    28: ElementType("float6e3m2", 6, "int32_data"),
}
"""By TensorProto.DataType (source: comments of onnx.proto on raw_data and the typed fields)."""
