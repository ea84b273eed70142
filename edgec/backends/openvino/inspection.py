"""Looking into an IR: the values of its inner tensors, by the names that they have in the ONNX model.

Whoever asks OpenVINO for a tensor in the middle keeps it from fusing there. So what is seen are the layers as they were
lowered, each with kernels that a run without an onlooker may not use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgec.backends.inspection import Wanted, Watched

AS_SHIPPED = False
AT_ONCE = 48  # the more are asked for, the less is fused

CAVEAT = (
    "OpenVINO was asked for tensors in the middle of the model, which keeps it from fusing there: what is compared are "
    "the layers as they were lowered, not the fused kernels of the artifact."
)


def watch(folder: Path, options: Mapping[str, Any], wanted: Sequence[Wanted]) -> Watched:
    """Compile the IR in `folder` (model.xml, model.bin) so that it also gives those tensors that it knows."""
    import openvino

    core = openvino.Core()
    model = core.read_model(str(folder / "model.xml"))
    ports = {name: port for node in model.get_ordered_ops() for port in node.outputs() for name in port.get_names()}
    names = [item.name for item in wanted if not item.integers]
    known = [name for name in names if name in ports and ports[name].get_node().get_type_name() != "Constant"]
    model.add_outputs([name for name in known if not _is_output(model, name)])
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    if "snippets" in options:
        config["SNIPPETS_MODE"] = options["snippets"]
    compiled = core.compile_model(model, "CPU", config)
    of = {name: index for index, port in enumerate(compiled.outputs) for name in port.get_names()}
    known = [name for name in known if name in of]

    def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = compiled({name: np.ascontiguousarray(value) for name, value in feeds.items()})
        return {name: np.array(found[of[name]]) for name in known}

    return Watched(tuple(known), run)


def _is_output(model: Any, name: str) -> bool:
    return any(name in port.get_names() for port in model.outputs)
