"""Predicted beside actual. The logs are written by hand: the compiler is not to be had here."""

from edgec.backends.edgetpu.comparison import Difference, compare
from edgec.backends.edgetpu.log import parse
from edgec.backends.edgetpu.mapping import predict
from tests.backends.edgetpu.test_mapping import chain

HEAD = """Edge TPU Compiler version 16.0.384591198
Model compiled successfully in 9 ms.
On-chip memory used for caching model parameters: {cached}
Off-chip memory used for streaming uncached model parameters: 0.00B
Operator                       Count      Status
"""


def log(*rows, cached="0.00B"):
    return parse(HEAD.format(cached=cached) + "\n".join(rows))


def test_a_log_that_says_what_was_predicted():
    mapping = predict(chain("LEAKY_RELU"))
    found = compare(
        mapping,
        log(
            "CONV_2D  1  Mapped to Edge TPU",
            "CONV_2D  1  More than one subgraph is not supported",
            "LEAKY_RELU  1  Operation not supported",
            cached=f"{mapping.memory.needed[0]}.00B",
        ),
    )
    assert found.agrees and found.mapped == (1, 1)
    assert found.cached and found.streamed
    assert found.compiler == "16.0.384591198"


def test_a_log_that_says_otherwise():
    found = compare(
        predict(chain("RELU")), log("CONV_2D 2 Mapped to Edge TPU", "RELU 1 Some new status", cached="9.00GiB")
    )
    assert found.agrees is False
    assert found.differences == (
        Difference("RELU", "Mapped to Edge TPU", 1, 0),
        Difference("RELU", "Some new status", 0, 1),
    )
    assert found.mapped == (3, 2)
    assert found.cached is False
    assert found.to_json()["differences"][0]["operator"] == "RELU"


def test_a_log_without_a_table_proves_nothing():
    found = compare(predict(chain()), parse("Edge TPU Compiler version 16.0.384591198"))
    assert found.agrees is None and found.mapped is None and found.cached is None
