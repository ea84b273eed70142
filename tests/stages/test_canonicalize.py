"""Canonicalize: a stored model in its normal form, believed only after it was compared."""

import json

import numpy as np
import onnx
import pytest

from edgec.onnx_graph import hollow
from edgec.onnx_graph.canonicalization import PASSES, checked, passes
from edgec.onnx_graph.canonicalization.passes import Pass
from edgec.onnx_graph.canonicalization.record import now_called
from edgec.onnx_graph.canonicalization.workpiece import instead_of, make
from edgec.reference import Reference
from edgec.stages import canonicalize
from tests.quantization.tiny import network, node
from tests.stages.small_models import convolution, ingested
from tests.stages.stage_run import Ran, _run

F = np.float32
SIX = {"three": F(3), "zero": F(0), "six": F(6)}
X = [1, 3, 6, 6]


def hard_swish():
    nodes = [
        node("Conv", ["x", "w"], ["c"], "conv"),
        node("Add", ["c", "three"], ["a"], "plus"),
        node("Clip", ["a", "zero", "six"], ["k"], "clip"),
        node("Mul", ["c", "k"], ["m"], "times"),
        node("Div", ["m", "six"], ["y"], "over"),
    ]
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(F)
    return network(nodes, {"x": X}, ["y"], {**SIX, "w": weights})


def canonicalized(source, folder, extent="all") -> Ran:
    params = canonicalize.CanonicalizeParams(extent)
    return _run("canonicalize", folder, lambda context: canonicalize.run(source, params, context))


def same(first, second):
    feed = {"x": np.random.default_rng(1).normal(size=X).astype(F)}
    one, other = (Reference(path / "model.onnx").run(feed)["y"] for path in (first, second))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_what_was_done_is_written_down(tmp_path):
    source = ingested(tmp_path / "simplified", hard_swish())
    done = canonicalized(source, tmp_path)
    document = done.document("canonicalize.json")
    rewrites = {item["pass"]: item for item in document["rewrites"]}
    assert rewrites["hard-swish"]["count"] == 1
    assert rewrites["hard-swish"]["into"] == ["over"]
    assert sorted(rewrites["hard-swish"]["nodes"]) == ["clip", "plus", "times"]
    assert rewrites["hard-swish"]["title"] == "HardSwish made whole"
    assert (document["nodes_before"], document["nodes_after"]) == (5, 2)
    assert document["ops"] == {"Conv": 1, "HardSwish": 1}
    assert 0 <= document["max_abs_diff"] < 1e-2
    assert document["left_out"] == [] and not done.warnings
    assert [item["pass"] for item in document["rewrites"]] == [p.name for p in PASSES if p.name in rewrites]
    same(source, done.folder)


def test_names_of_nodes_that_went_into_others_still_mean_something(tmp_path):
    done = canonicalized(ingested(tmp_path / "simplified", hard_swish()), tmp_path)
    assert now_called(done.folder, ["clip", "conv", "times", "unknown"]) == ("over", "conv", "unknown")
    assert now_called(tmp_path, ["clip"]) == ("clip",)


@pytest.mark.parametrize("extent", ["none", "needed"])
def test_a_model_that_shall_stay_as_it_is_stays(tmp_path, extent):
    source = ingested(tmp_path / "simplified", convolution())
    done = canonicalized(source, tmp_path, extent)
    assert (done.folder / "model.onnx").read_bytes() == (source / "model.onnx").read_bytes()
    assert done.document("canonicalize.json")["rewrites"] == []


def shifted(work, one):
    """Not exact, to see that it is noticed."""
    if one.op_type != "Conv" or len(one.input) > 2:
        return None
    bias = work.floats(f"{one.name}/bias", np.ones(4))
    return instead_of([], one, make("Conv", [*one.input, bias], one.output, one.name))


def failing(work, one):
    raise IndexError("no such thing")


def invalid(work, one):
    return None if one.op_type != "Conv" else instead_of([], one, make("Cnov", one.input, one.output, one.name))


@pytest.mark.parametrize(
    ("matcher", "said"),
    [(shifted, "differs by"), (failing, "IndexError"), (invalid, "not valid")],
)
@pytest.mark.parametrize("place", [0, 7, len(PASSES)])
def test_a_pass_that_breaks_the_model_is_found_and_left_out(tmp_path, monkeypatch, matcher, said, place):
    wrong = Pass("wrong", "Wrong on purpose", (matcher,))
    monkeypatch.setattr(passes, "PASSES", (*PASSES[:place], wrong, *PASSES[place:]))
    monkeypatch.setitem(checked._TITLES, "wrong", wrong.title)
    monkeypatch.setattr(passes, "ROUNDS", 3)
    source = ingested(tmp_path / "simplified", hard_swish())
    done = canonicalized(source, tmp_path)
    (left_out,) = done.document("canonicalize.json")["left_out"]
    assert left_out["pass"] == "wrong" and said in left_out["reason"]
    assert "Wrong on purpose" in done.warnings[0]
    assert done.document("canonicalize.json")["ops"] == {"Conv": 1, "HardSwish": 1}
    same(source, done.folder)


def test_a_model_that_can_not_be_run_gets_the_needed_forms_only(tmp_path):
    """An index that made-up inputs leave: nothing can be compared."""
    nodes = [
        node("Gather", ["table", "x"], ["g"]),
        node("Gemm", ["g", "w"], ["s"], alpha=0.5),
        node("HardSigmoid", ["s"], ["k"], alpha=1 / 6),
        node("Mul", ["k", "s"], ["y"]),
    ]
    constants = {"table": np.ones((1, 4), F), "w": np.ones((4, 2), F)}
    model = network(nodes, {"x": [3]}, ["y"], constants, dtypes={"x": onnx.TensorProto.INT64})
    source = ingested(tmp_path / "simplified", model)
    contract = json.loads((source / "contract.json").read_text())
    contract["inputs"][0]["dtype"] = "int64"
    (source / "contract.json").write_text(json.dumps(contract))
    done = canonicalized(source, tmp_path)
    found = done.document("canonicalize.json")
    assert [item["pass"] for item in found["rewrites"]] in (["gemm"], ["gemm", "hard-swish"])


def test_large_weights_are_shared_not_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(hollow, "INLINE_LIMIT", 1000)
    random = np.random.default_rng(4)
    nodes = [
        node("Gemm", ["x", "a"], ["b"], "first"),
        node("HardSigmoid", ["b"], ["g"], "gate", alpha=1 / 6),
        node("Mul", ["b", "g"], ["h"], "product"),
        node("Mul", ["h", "two"], ["m"], "factor"),
        node("Gemm", ["m", "c"], ["y"], "second"),
    ]
    constants = {"a": random.normal(size=(6, 900)).astype(F), "c": random.normal(size=(900, 6)).astype(F), "two": F(2)}
    model = network(nodes, {"x": [2, 6]}, ["y"], constants)
    source = ingested(tmp_path / "simplified", model)
    weights = {}
    hollow.detach_held(model, weights)
    hollow.write_model(model, weights, source)
    assert (source / "weights.bin").exists()
    done = canonicalized(source, tmp_path)
    assert done.document("canonicalize.json")["nodes_after"] == 3
    assert (done.folder / "weights.bin").stat().st_ino == (source / "weights.bin").stat().st_ino
    feed = {"x": random.normal(size=(2, 6)).astype(F)}
    one, other = (Reference(path / "model.onnx").run(feed)["y"] for path in (source, done.folder))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
