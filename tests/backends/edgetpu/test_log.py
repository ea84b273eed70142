"""Logs as people have posted them (google-coral/edgetpu), names and numbers of our own."""

import pytest

from edgec.backends.edgetpu.log import Row, parse

PARTLY = """Edge TPU Compiler version 15.0.340273435

Model compiled successfully in 2006 ms.

Input model: net.tflite
Input size: 4.17MiB
Output model: net_edgetpu.tflite
Output size: 4.75MiB
On-chip memory used for caching model parameters: 3.21MiB
On-chip memory remaining for caching model parameters: 3.78MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 161
Operation log: net_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model will \
instead run on the CPU, which is slower. If possible, consider updating your model to use only operations supported by \
the Edge TPU. For details, visit g.co/coral/model-reqs.
Number of operations that will run on Edge TPU: 117
Number of operations that will run on CPU: 44

Operator                       Count      Status

CONCATENATION                  2          More than one subgraph is not supported
CONV_2D                        60         Mapped to Edge TPU
CONV_2D                        23         More than one subgraph is not supported
QUANTIZE                       1          Operation is otherwise supported, but not mapped due to some \
unspecified limitation
"""
SIXTEEN = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 96 ms.

Input model: net.tflite
Input size: 7.02MiB
Output model: net_edgetpu.tflite
Output size: 7.14MiB
On-chip memory used for caching model parameters: 80.00KiB
On-chip memory remaining for caching model parameters: 6.04MiB
Off-chip memory used for streaming uncached model parameters: 1.00GiB
Number of Edge TPU subgraphs: 2
Total number of operations: 2
Operation log: net_edgetpu.log

Operator                       Count      Status

ADD                            2          Mapped to Edge TPU
Compilation child process completed within timeout period.
Compilation succeeded!
"""
BESIDE = """Edge TPU Compiler version 14.1.317412892
Input: net.tflite
Output: net_edgetpu.tflite

Operator                       Count      Status

MAX_POOL_2D                    6          Mapped to Edge TPU
RESIZE_NEAREST_NEIGHBOR        1          Operation version not supported
"""


def test_a_model_that_is_mapped_in_part():
    log = parse(PARTLY)
    assert log.version == "15.0.340273435"
    assert log.succeeded and log.milliseconds == 2006
    assert (log.cached, log.remaining, log.streamed) == (round(3.21 * 2**20), round(3.78 * 2**20), 0)
    assert (log.subgraphs, log.operations, log.on_edgetpu, log.on_cpu) == (1, 161, 117, 44)
    assert log.rows[1] == Row("CONV_2D", 60, "Mapped to Edge TPU")
    assert log.rows[3].status.endswith("unspecified limitation")
    assert len(log.rows) == 4
    assert not log.complaints


def test_a_model_that_is_mapped_whole_by_version_16_has_no_count_of_what_runs_where():
    log = parse(SIXTEEN)
    assert log.version == "16.0.384591198"
    assert (log.on_edgetpu, log.on_cpu, log.subgraphs) == (None, None, 2)
    assert (log.cached, log.streamed) == (80 * 1024, 2**30)
    assert log.rows == (Row("ADD", 2, "Mapped to Edge TPU"),)


def test_the_file_beside_the_model_has_the_table_only():
    log = parse(BESIDE)
    assert not log.succeeded and log.cached is None
    assert [(row.operator, row.count) for row in log.rows] == [("MAX_POOL_2D", 6), ("RESIZE_NEAREST_NEIGHBOR", 1)]


def test_a_line_without_the_flag_that_prints_the_table():
    log = parse(
        PARTLY[: PARTLY.index("Operator      ")] + "See the operation log file for individual operation details."
    )
    assert log.rows == () and log.on_cpu == 44


def test_of_several_attempts_the_last_one_counts():
    log = parse(PARTLY + SIXTEEN)
    assert log.version == "16.0.384591198"
    assert log.rows == (Row("ADD", 2, "Mapped to Edge TPU"),)


@pytest.mark.parametrize(
    "line",
    [
        "Model not quantized",
        "Invalid model: net.tflite",
        "Internal compiler error. Aborting! ",
        "ERROR: Didn't find op for builtin opcode 'CONV_2D' version '6'",
        "Compilation failed: Compilation failed due to large activation tensors in model.",
    ],
)
def test_complaints_are_kept(line):
    log = parse(f"Edge TPU Compiler version 16.0.384591198\n{line}\n")
    assert log.complaints == (line.strip(),)
    assert not log.succeeded


@pytest.mark.parametrize("text", ["", "\0\x1b[31m", "Operator Count Status\n\nCONV_2D many Mapped", "9" * 10_000])
def test_anything_can_be_read_and_most_of_it_says_nothing(text):
    log = parse(text)
    assert log.version is None and log.rows == () and not log.succeeded
