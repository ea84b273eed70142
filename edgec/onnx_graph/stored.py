"""Models that a stage left, opened without reading their weights: what lies beside them is read tensor by tensor.

The files are edgec's own and trusted, unlike those of `edgec.onnx_graph.untrusted`; stages share large weights by hard
links, which a reader of untrusted files would refuse.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import onnx

from edgec.onnx_graph.hollow import Data, Extent, detach_held


@contextmanager
def open_stored(path: Path) -> Iterator[tuple[onnx.ModelProto, dict[str, Data]]]:
    """A hollow model and where the data of its large initializers is; usable as long as the context is open."""
    model = onnx.load(str(path), load_external_data=False)
    weights: dict[str, Data] = {}
    with ExitStack() as files:
        opened: dict[str, int] = {}
        for tensor in model.graph.initializer:
            if tensor.data_location != onnx.TensorProto.EXTERNAL:
                continue
            where = {entry.key: entry.value for entry in tensor.external_data}
            name = where["location"]
            if name not in opened:
                opened[name] = os.open(path.parent / name, os.O_RDONLY | os.O_CLOEXEC)
                files.callback(os.close, opened[name])
            weights[tensor.name] = Extent(opened[name], int(where.get("offset", 0)), int(where["length"]))
        detach_held(model, weights)
        yield model, weights
