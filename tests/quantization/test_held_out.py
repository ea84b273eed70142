"""What candidates are judged by: which samples, and what a candidate loses on each."""

from types import SimpleNamespace

import numpy as np
import pytest
from google.protobuf.message import EncodeError

from edgec.contract import Contract, TensorSpec
from edgec.errors import ModelRefused
from edgec.parity.metrics import compare
from edgec.quantization.held_out import HeldOut, read_held_out, serialized
from edgec.quantization.workshop import worst_sqnr_db
from edgec.samples import Sample, held_out
from tests.quantization.tiny import network, node

F = np.float32
RNG = np.random.default_rng(21)


class Counted:
    """A source of numbered samples that remembers which were decoded."""

    def __init__(self, count):
        self.count, self.decoded = count, []

    def __len__(self):
        return self.count

    def read(self, indices=None):
        for i in range(self.count) if indices is None else indices:
            self.decoded.append(i)
            yield Sample(str(i), ({"x": np.zeros(1, F)},))


def test_large_models_are_tried_on_fewer_samples():
    few, many = Counted(200), Counted(200)
    (small, _), (large, unseen) = read_held_out(many, macs=10**6), read_held_out(few, macs=10**11)
    assert (len(small), len(large), len(unseen)) == (24, 4, 4)
    assert len(few.decoded) <= 9, "samples that are not used are not decoded"
    assert set(many.decoded) <= set(held_out(200)[1]), "calibration saw the others"


@pytest.mark.parametrize(
    ("samples", "search", "fresh"), [(3, 3, 0), (32, 16, 0), (54, 27, 0), (64, 24, 8), (256, 32, 32), (5000, 32, 32)]
)
def test_some_samples_are_kept_back_from_the_search_where_there_are_enough(samples, search, fresh):
    used, unseen = read_held_out(Counted(samples), macs=1)
    assert (len(used), len(unseen)) == (search, fresh)
    names = [sample.name for sample in (*used, *unseen)]
    assert len(set(names)) == len(names)


def test_the_search_sees_a_part_of_what_the_artifact_is_judged_by():
    first, again = Counted(2000), Counted(2000)
    read_held_out(first, macs=1), read_held_out(again, macs=1)
    judges = held_out(2000)[1]
    assert len(judges) == 256 and len(set(first.decoded)) == 64
    assert set(first.decoded) < set(judges)
    assert first.decoded == again.decoded
    assert max(first.decoded[:8]) > 1000 > min(first.decoded[:8]), "from all over, also where few are taken"


def exact(model_input="x"):
    """A model that gives back what it gets, and judges of it with four samples."""
    model = network([node("Identity", [model_input], ["y"])], {model_input: [1, 8]}, ["y"])
    specs = [(TensorSpec(name, "float32", (1, 8)),) for name in (model_input, "y")]
    samples = [Sample(str(i), ({model_input: RNG.normal(size=(1, 8)).astype(F)},)) for i in range(4)]
    return model, HeldOut(samples, model.SerializeToString(), Contract(*specs), {})


def test_a_sample_loses_the_share_that_noise_has_in_it():
    model, judges = exact()
    assert judges.judged(model)[1] == [0, 0, 0, 0]
    halved = network([node("Mul", ["x", "half"], ["y"])], {"x": [1, 8]}, ["y"], {"half": np.array(0.5, F)})
    assert judges.judged(halved)[1] == pytest.approx([0.25 / 1.25] * 4)
    opposite = network([node("Neg", ["x"], ["y"])], {"x": [1, 8]}, ["y"])
    assert judges.judged(opposite)[1] == pytest.approx([4 / 5] * 4), "no sample loses more than all"


def test_infinity_is_a_total_loss():
    _, judges = exact()
    broken = network([node("Div", ["x", "zero"], ["y"])], {"x": [1, 8]}, ["y"], {"zero": np.array(0, F)})
    assert judges.judged(broken)[1] == [1, 1, 1, 1]


def test_integers_have_no_sqnr():
    labels, near, far = np.array([[1, 2, 3, 40]]), np.array([[1, 2, 3, 41]]), np.array([[1, 2, 3, 900]])
    scores, noisy = RNG.normal(size=(1, 8)), RNG.normal(size=8) * 1e-3
    for wrong in (near, far):
        both = compare([{"label": labels, "y": scores}] * 2, [{"label": wrong, "y": scores + noisy}] * 2)
        assert worst_sqnr_db(both) == both[1].sqnr_db > 40
        (alone,) = compare([{"label": labels}], [{"label": wrong}])
        assert worst_sqnr_db([alone]) == pytest.approx(6.02, abs=0.01), "one of four, however far off"


def test_a_recurrent_candidate_carries_its_own_state():
    model = network(
        [node("Add", ["x", "before"], ["sum"]), node("MatMul", ["sum", "w"], ["after"])],
        {"x": [1, 4], "before": [1, 4]},
        ["after", "sum"],
        {"w": np.eye(4, dtype=F) / 2},
    )
    specs = tuple(TensorSpec(n, "float32", (1, 4)) for n in ("x", "before"))
    outputs = tuple(TensorSpec(n, "float32", (1, 4)) for n in ("after", "sum"))
    sample = Sample("s", tuple({"x": RNG.normal(size=(1, 4)).astype(F)} for _ in range(5)))
    judged_by = HeldOut([sample], model.SerializeToString(), Contract(specs, outputs), {"after": "before"})

    def half_as_strong(feeds):
        total = feeds["x"] + feeds["before"]
        return {"sum": total, "after": total / 4}

    same = {item.name: item for item in judged_by.compare(model)}
    other = {item.name: item for item in judged_by.compare_outputs(half_as_strong)}
    assert same["sum"].max_abs == 0
    assert other["sum"].max_abs > 0, "its first step is right, and its state goes its own way from there"
    assert judged_by.steps_per_sample == 5


def test_what_one_file_can_not_hold_is_refused_with_its_size(monkeypatch):
    """Below protobuf's limit, and beyond it, where protobuf itself gives up."""
    model = network([node("Relu", ["x"], "y")], {"x": [1, 4]}, {"y": [1, 4]})
    content = serialized(model)
    monkeypatch.setattr("edgec.quantization.held_out.MOST_BYTES", len(content))
    with pytest.raises(ModelRefused, match=r"too large to quantize: one of its forms takes 0\.0 GiB"):
        serialized(model)

    weights = SimpleNamespace(raw_data=range(3 << 30))  # no more of it is looked at than its length

    def give_up(deterministic):
        raise EncodeError("Failed to serialize proto")

    beyond = SimpleNamespace(SerializeToString=give_up, graph=SimpleNamespace(initializer=[weights]))
    with pytest.raises(ModelRefused, match=r"takes 3\.0 GiB"):
        serialized(beyond)
