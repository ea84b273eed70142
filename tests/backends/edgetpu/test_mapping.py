"""Networks: where the first subgraph ends, what would map more, and what fits on the chip."""

import json

import numpy as np
import pytest

from edgec.backends.edgetpu.lowering import lowered
from edgec.backends.edgetpu.mapping import DISCLAIMER, predict
from edgec.backends.edgetpu.memory import CACHE, Memory
from edgec.backends.edgetpu.statuses import Status
from tests.backends.edgetpu.networks import Net
from tests.contract import models


def statuses(mapping):
    return {item.tensor: item.status for item in mapping.operators}


def chain(*operators):
    """x -> conv -> each of the operators -> conv."""
    made = Net()
    made.input("x", (1, 8, 8, 16))
    last = made.conv("x", "first", (1, 8, 8, 16))
    for index, operator in enumerate(operators):
        last = made.add(operator, [last], f"{operator.lower()}{index}", (1, 8, 8, 16))
    made.conv(last, "last", (1, 8, 8, 16))
    return made.file("last")


def test_everything_is_mapped():
    mapping = predict(chain("RELU", "LOGISTIC"))
    assert set(statuses(mapping).values()) == {Status.MAPPED}
    assert mapping.end is None and mapping.macs_mapped == 1.0 and mapping.mapped == 4
    assert mapping.remedies == () and mapping.warnings == ()
    assert mapping.table() == [
        ("CONV_2D", 2, Status.MAPPED),
        ("LOGISTIC", 1, Status.MAPPED),
        ("RELU", 1, Status.MAPPED),
    ]


def test_the_first_operation_that_is_not_mapped_ends_the_subgraph():
    mapping = predict(chain("LEAKY_RELU", "RELU"))
    assert statuses(mapping) == {
        "first": Status.MAPPED,
        "leaky_relu0": Status.OPERATION,
        "relu1": Status.SUBGRAPH,
        "last": Status.SUBGRAPH,
    }
    assert mapping.end == "leaky_relu0"
    assert mapping.macs_mapped == pytest.approx(0.5)
    (remedy,) = mapping.remedies
    assert remedy.operators == ("leaky_relu0",) and "PRelu" in remedy.what
    assert (remedy.mapped, remedy.gained, remedy.macs_mapped) == (4, 3, 1.0)


def test_a_branch_that_needs_nothing_of_the_cpu_is_mapped_though_it_comes_later():
    made = Net()
    made.input("x", (1, 8, 8, 16))
    made.add("LEAKY_RELU", ["x"], "a", (1, 8, 8, 16))
    made.add("RELU", ["x"], "b", (1, 8, 8, 16))
    made.add("ADD", ["a", "b"], "y", (1, 8, 8, 16))
    assert statuses(predict(made.file("y"))) == {
        # the first operator is the CPU's, so that the Edge TPU's part is whatever can run after those of the CPU
        "a": Status.OPERATION,
        "b": Status.MAPPED,
        "y": Status.MAPPED,
    }


def test_operations_of_the_cpu_keep_their_own_status_also_behind_the_end():
    mapping = predict(chain("LEAKY_RELU", "RELU", "HARD_SWISH"))
    assert statuses(mapping)["hard_swish2"] is Status.OPERATION
    first, second = mapping.remedies
    assert (first.operator, first.mapped, first.gained, first.macs_mapped) == ("LEAKY_RELU", 3, 2, 0.5)
    assert (second.operator, second.mapped, second.gained, second.macs_mapped) == ("HARD_SWISH", 5, 2, 1.0)


def test_float_between_integers_is_one_change():
    made = Net()
    made.input("x", (1, 8))
    made.add("DEQUANTIZE", ["x"], "d", (1, 8), "float32")
    made.add("EXP", ["d"], "e", (1, 8), "float32")
    made.add("LOG", ["e"], "l", (1, 8), "float32")
    made.add("QUANTIZE", ["l"], "q", (1, 8))
    made.add("RELU", ["q"], "y", (1, 8))
    mapping = predict(made.file("y"))
    (remedy,) = mapping.remedies
    assert remedy.operator == "computation in float" and remedy.operators == ("d", "e", "l", "q")
    assert remedy.mapped == 5
    assert all("--io" not in item.remedy for item in mapping.operators)


def test_float_inputs_and_outputs_are_left_to_the_cpu_and_end_nothing():
    made = Net()
    made.input("x", (1, 8), "float32")
    made.add("QUANTIZE", ["x"], "q", (1, 8))
    made.add("RELU", ["q"], "r", (1, 8))
    made.add("DEQUANTIZE", ["r"], "y", (1, 8), "float32")
    mapping = predict(made.file("y"))
    assert statuses(mapping) == {"q": Status.LIMITATION, "r": Status.MAPPED, "y": Status.DATA_TYPE}
    assert mapping.end is None and mapping.remedies == ()


def test_a_network_in_float_maps_nothing():
    made = Net()
    made.input("x", (1, 8), "float32")
    made.add("RELU", ["x"], "y", (1, 8), "float32")
    mapping = predict(made.file("y"))
    assert mapping.mapped == 0 and mapping.macs_mapped == 0.0 and mapping.memory.parameters == 0


def wide(mebibytes):
    made = Net()
    made.input("x", (1, 1, 1, 1024))
    made.constant("w", np.zeros((mebibytes * 1024, 1, 1, 1024), np.int8), "int8")
    made.constant("b", np.zeros(mebibytes * 1024))
    made.add("CONV_2D", ["x", "w", "b"], "y", (1, 1, 1, mebibytes * 1024), version=3)
    return predict(made.file("y")).memory


@pytest.mark.parametrize(("mebibytes", "fits"), [(1, True), (6, None), (16, False)])
def test_parameters_fit_or_are_streamed_or_it_can_not_be_told(mebibytes, fits):
    memory = wide(mebibytes)
    assert memory.fits is fits
    assert memory.parameters == mebibytes * (2**20 + 4 * 1024)
    assert memory.needed[0] <= memory.needed[1]
    assert memory.cached[1] <= CACHE[1]
    assert memory.streamed[0] <= memory.streamed[1]


def test_weights_on_the_cpu_take_no_memory_of_the_chip():
    assert predict(chain("LEAKY_RELU")).memory.parameters < predict(chain("RELU")).memory.parameters


def test_large_images_are_warned_of():
    made = Net()
    made.input("x", (1, 1024, 1024, 3))
    made.conv("x", "y", (1, 1024, 1024, 4))
    (warning,) = predict(made.file("y")).warnings
    assert "large activation tensors" in warning


def test_a_version_that_is_too_new_refuses_the_whole_file():
    made = Net()
    made.input("x", (1, 8))
    made.add("RELU", ["x"], "y", (1, 8), version=9)
    (warning,) = predict(made.file("y")).warnings
    assert "Didn't find op for builtin opcode 'RELU' version '9'" in warning


def test_the_document_says_what_it_is_and_is_json():
    document = json.loads(json.dumps(predict(chain("LEAKY_RELU")).to_json()))
    assert document["is"] == DISCLAIMER
    assert document["operators"][1]["status"] == "Operation not supported"
    assert document["end"] == "leaky_relu0"


def test_bytes_at_the_border_map_as_integers_do():
    """Examples of Coral feed uint8: the Edge TPU itself makes int8 of them."""
    signed, unsigned = (predict(lowered(models.conv_int8(), interface)).operators for interface in ("int8", "uint8"))
    first, *others, last = unsigned
    assert (first.operator, first.status, last.operator) == ("QUANTIZE", Status.MAPPED, "QUANTIZE")
    assert [(item.operator, item.status) for item in others] == [(item.operator, item.status) for item in signed]


def test_weights_of_a_few_kilobytes_are_not_called_nothing():
    small = Memory(12_000, (12_000, 16_000), (12_000, 16_000), (0, 0), 4_000)
    assert small.sentence == "weights take less than 0.1 MiB on the chip, and fit"
