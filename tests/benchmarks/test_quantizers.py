"""The comparison of quantizers counts INT8 work rightly, whoever wrote the model, and says where edgec is behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def quantizers(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import quantizers

    yield quantizers
    for name in ("quantizers", "quantizer_peers", "int8_share"):
        sys.modules.pop(name, None)


def _save(path: Path, between: str = "", weight_type: type = np.int8) -> Path:
    """Gemm 4x8x16 (512) with quantized input and weights, then MatMul 4x16x2 (128) in float."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "s", "weight_zero"], ["wd"]),
        *([helper.make_node(between, ["xd"], ["xm"])] if between else []),
        helper.make_node("Gemm", ["xm" if between else "xd", "wd"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["y"]),
    ]
    weights = {
        "s": np.array(0.1, np.float32),
        "zero": np.array(0, np.uint8),
        "weight_zero": np.array(0, weight_type),
        "wq": np.ones((8, 16), weight_type),
        "v": np.ones((16, 2), np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "shares",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 2])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), path)
    return path


@pytest.mark.parametrize(
    ("between", "weight_type", "share"),
    [("", np.int8, 0.8), ("", np.uint8, 0.8), ("Identity", np.int8, 0.8), ("Sqrt", np.int8, 0.0), ("", np.int16, 0.0)],
)
def test_only_products_of_bytes_count(
    quantizers: ModuleType, tmp_path: Path, between: str, weight_type: type, share: float
) -> None:
    path = _save(tmp_path / "model.onnx", between, weight_type)
    assert quantizers.int8_share(path) == pytest.approx(share)


def test_the_summary_compares_what_is_comparable(quantizers: ModuleType) -> None:
    def row(name: str, accuracy: float, share: float = 1.0) -> object:
        scores = {"accuracy": accuracy, "sqnr_db": 20.0, "accuracy_drop": 0.91 - accuracy}
        return quantizers.Row(name, int8_share=share, scores=scores)

    results = {
        "ahead": [row("edgec", 0.90), row("peer", 0.90), row("lazy", 0.99, share=0.2)],
        "behind": [row("edgec", 0.90), row("peer", 0.92), quantizers.Row("broken", failure="out of memory")],
        "lucky": [row("edgec", 0.91), row("peer", 0.92)],
        "refused": [quantizers.Row("edgec", failure="refused"), row("peer", 0.9)],
    }
    ahead, behind, lucky, refused = quantizers.summary(results).splitlines()[2:]
    assert "90.00% (peer) | yes" in ahead
    assert "no, 2.00 points less" in behind
    assert "nothing lost to float; peer is above float" in lucky
    assert "| no model | | no |" in refused


def test_a_quantizer_that_fails_becomes_a_row(quantizers: ModuleType, tmp_path: Path) -> None:
    made = quantizers.quantize("onnxsim minmax", sys.executable, tmp_path, 60)
    assert isinstance(made, str)
    row = quantizers.Row("onnxsim minmax", failure=made)
    assert "model.onnx" in quantizers.table(0.9, [row]).splitlines()[-1]
