"""The list of passes as a whole."""

import subprocess
import sys

import numpy as np
import onnx
import pytest

from edgec.onnx_graph.canonicalization import PASSES, canonical, passes
from edgec.onnx_graph.canonicalization.passes import Pass, PassFailed
from tests.onnx_graph.canonicalization.same import F
from tests.onnx_graph.canonicalization.test_affine import attention
from tests.quantization.tiny import network, node

X = {"x": [1, 4, 6, 6]}


def test_names_and_titles_are_unique_and_in_words():
    assert len({item.name for item in PASSES}) == len({item.title for item in PASSES}) == len(PASSES)
    assert all(item.title[0].isupper() and not item.title.endswith(".") for item in PASSES)


def test_a_normal_form_stays_as_it_is():
    first = canonical(attention("q", fused=True))
    assert first.done
    assert not canonical(first.model).done


def test_the_model_that_is_given_is_not_changed():
    model = attention("q", fused=True)
    before = model.SerializeToString(deterministic=True)
    canonical(model)
    assert model.SerializeToString(deterministic=True) == before


def test_every_node_has_a_name_of_its_own():
    model = network([node("Relu", ["x"], ["a"], "n"), node("Sin", ["a"], ["b"]), node("Abs", ["b"], ["y"])], X, ["y"])
    for item, name in zip(model.graph.node, ("n", "", "n"), strict=True):
        item.name = name
    names = [item.name for item in canonical(model).model.graph.node]
    assert len(set(names)) == 3 and names[0] == "n" and all(names)


def test_where_nodes_went_is_known_to_the_end():
    nodes = [
        node("HardSigmoid", ["x"], ["g"], "gate", alpha=1 / 6),
        node("Mul", ["x", "g"], ["h"], "product"),
        node("Mul", ["h", "s"], ["m"], "scale"),
        node("Conv", ["m", "w"], ["y"], "conv"),
    ]
    model = network(nodes, X, ["y"], {"s": F(2), "w": np.ones((2, 4, 1, 1), F)})
    found = canonical(model)
    assert found.became == {"gate": "product", "scale": "conv"}
    assert {item.name for item in found.model.graph.node} == {"product", "conv"}
    assert found.done["hard-swish"].nodes == ["gate"]


def test_a_pass_that_fails_is_named(monkeypatch):
    def broken(work, node):
        raise KeyError("here")

    monkeypatch.setattr(passes, "PASSES", (Pass("broken", "Broken", (broken,)),))
    with pytest.raises(PassFailed, match="KeyError") as failure:
        canonical(attention("q", fused=True))
    assert failure.value.name == "broken"


def test_constants_outside_of_the_model_are_read_only_where_needed():
    """Weights of large models lie beside them: what no pass touches is not read."""
    from edgec.onnx_graph.hollow import Held, detach_held

    class Watched(Held):
        asked = 0

        def read(self):
            type(self).asked += 1
            return super().read()

    large = np.ones((80, 80), F)
    nodes = [node("MatMul", ["x", "a"], ["b"]), node("Relu", ["b"], ["r"]), node("MatMul", ["r", "c"], ["d"])]
    nodes.append(node("HardSigmoid", ["d"], ["y"]))
    model = network(nodes, {"x": [2, 80]}, ["y"], {"a": large, "c": large * 2})
    weights = {}
    detach_held(model, weights)
    assert set(weights) == {"a", "c"}
    watched = {name: Watched(held.read()) for name, held in weights.items()}
    found = canonical(model, watched)
    assert Watched.asked == 0
    assert all(item.data_location == item.EXTERNAL for item in found.model.graph.initializer)


def test_equal_models_give_equal_bytes(tmp_path):
    onnx.save(attention("s", fused=False), tmp_path / "model.onnx")
    code = (
        "import hashlib, sys, onnx; from edgec.onnx_graph.canonicalization import canonical; "
        "found = canonical(onnx.load(sys.argv[1])).model.SerializeToString(deterministic=True); "
        "print(hashlib.sha256(found).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code, tmp_path / "model.onnx"],
            env={"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
