"""One operator at a time: mapped, or not and why."""

import numpy as np
import pytest

from edgec.backends.edgetpu import rules
from edgec.backends.edgetpu.mapping import predict
from edgec.backends.edgetpu.statuses import Status
from edgec.errors import ModelRefused
from tests.backends.edgetpu.networks import Net


def single(file, **options):
    """The prediction for a file's only operator."""
    (found,) = predict(file, **options).operators
    return found


def net(shape=(1, 8, 8, 16), dtype="int8"):
    made = Net()
    made.input("x", shape, dtype)
    return made


def conv(**options):
    made = net()
    made.conv("x", "y", (1, 8, 8, 4), **options)
    return made.file("y")


def concat(constant=None, other=False, **options):
    made = net()
    made.add("RELU", ["x"], "z", (1, 8, 8, 16)) if other else None
    second = made.constant("c", constant, "int8") if constant is not None else "x"
    made.add("CONCATENATION", ["x", second], "y", (1, 8, 8, 32), axis=3, **options)
    return made.file("y")


def reduce(shape, axes, result, operator="MEAN"):
    made = net(shape)
    made.constant("axes", np.array(axes))
    made.add(operator, ["x", "axes"], "y", result)
    return made.file("y")


def fully_connected(shape=(1, 16), scales=(0.1,), **options):
    made = net(shape)
    made.constant("w", np.zeros((4, 16)), "int8", scales)
    made.add("FULLY_CONNECTED", ["x", "w", None], "y", (*shape[:-1], 4), version=4, **options)
    return made.file("y")


def unary(operator, shape=(1, 8, 8, 16), dtype="int8", version=1):
    made = net(shape, dtype)
    made.add(operator, ["x"], "y", shape, dtype, version)
    return made.file("y")


def resize(size=(16, 16), **options):
    made = net()
    made.constant("size", np.array(size))
    made.add("RESIZE_BILINEAR", ["x", "size"], "y", (1, *size, 16), **options)
    return made.file("y")


def prelu(slopes):
    made = net()
    made.constant("a", np.zeros(slopes), "int8")
    made.add("PRELU", ["x", "a"], "y", (1, 8, 8, 16))
    return made.file("y")


def pad(amounts):
    made = net()
    made.constant("p", np.array(amounts))
    made.add("PAD", ["x", "p"], "y", tuple(n + sum(a) for n, a in zip((1, 8, 8, 16), amounts, strict=True)))
    return made.file("y")


def squeeze(source, result):
    made = net(source)
    made.add("SQUEEZE", ["x"], "y", result)
    return made.file("y")


def pack(axis):
    made = net((1, 8, 16))
    made.add("PACK", ["x"], "y", (1, 1, 8, 16), axis=axis)
    return made.file("y")


def split(axis):
    made = net()
    made.constant("axis", np.array(axis))
    for name in ("y", "z"):
        made.tensor(name, (1, 8, 8, 8))
    made.add_to("SPLIT", ["axis", "x"], ["y", "z"], numSplits=2)
    return made.file("y", "z")


def strided(steps):
    made = net((1, 8, 8))
    for name, value in (("b", [0, 0, 0]), ("e", [1, 8, 8]), ("s", steps)):
        made.constant(name, np.array(value))
    made.add("STRIDED_SLICE", ["x", "b", "e", "s"], "y", (1, 8, 8))
    return made.file("y")


MAPPED = {
    "a convolution": conv(),
    "a dilated convolution": conv(dilationHFactor=2, dilationWFactor=2),
    "an activation fused into a convolution": conv(fusedActivationFunction=1),
    "weights with a scale for each channel of a convolution": conv(scales=(0.1, 0.2, 0.3, 0.4)),
    "concatenation": concat(),
    "zeros beside one input": concat(np.zeros((1, 8, 8, 16))),
    "a mean over the image": reduce((1, 8, 8, 15), (1, 2), (1, 15)),
    "a mean over 16 channels": reduce((1, 8, 8, 16), (-1,), (1, 8, 8)),
    "a fully connected layer": fully_connected(),
    "a softmax of 16,000": unary("SOFTMAX", (1, 16_000)),
    "a sigmoid": unary("LOGISTIC"),
    "slopes by channel": prelu((1, 1, 16)),
    "padding around the image": pad([(0, 0), (1, 1), (1, 1), (0, 0)]),
    "leading ones taken away": squeeze((1, 1, 8, 16), (8, 16)),
    "packing in the middle": pack(1),
    "splitting channels": split(3),
    "a slice with steps of 1": strided([1, 1, 1]),
    "a resize": resize(),
    "a resize with half-pixel centers": resize(halfPixelCenters=True),
    "uint8": unary("RELU", dtype="uint8"),
}
REFUSED = {
    "an operator that it lacks": (unary("LEAKY_RELU"), Status.OPERATION, "PRelu"),
    "an operator that nobody has a remedy for": (unary("COS"), Status.OPERATION, "CPU"),
    "float": (unary("RELU", dtype="float32"), Status.DATA_TYPE, "quantize"),
    "int16": (unary("RELU", dtype="int16"), Status.DATA_TYPE, "quantize"),
    "a batch": (unary("RELU", (2, 8, 8, 16)), Status.RANK, "batch of one"),
    "five dimensions": (unary("RELU", (1, 2, 8, 8, 16)), Status.RANK, "outer dimensions"),
    "unequal dilation": (conv(dilationHFactor=2), Status.LIMITATION, "both directions"),
    "groups": (conv(groups=4), Status.LIMITATION, "1x1"),
    "an activation fused into a concatenation": (concat(fusedActivationFunction=1), Status.LIMITATION, "own"),
    "a constant that is not 0": (concat(np.ones((1, 8, 8, 16))), Status.LIMITATION, "CPU"),
    "a mean over the batch": (reduce((1, 8, 8, 16), (0,), (8, 8, 16)), Status.LIMITATION, "first dimension"),
    "a mean over 15 channels": (reduce((1, 8, 8, 15), (3,), (1, 8, 8)), Status.LIMITATION, "4 divides"),
    "a mean over a large image": (reduce((1, 256, 128, 4), (1, 2), (1, 4)), Status.LIMITATION, "Split"),
    "a fully connected layer of 2 rows": (fully_connected((2, 16)), Status.TWO_DIMENSIONAL, "1x1 convolution"),
    "weights with a scale for each output": (fully_connected(scales=(0.1, 0.2, 0.3, 0.4)), Status.LIMITATION, "tensor"),
    "shuffled weights": (fully_connected(weightsFormat=1), Status.LIMITATION, "default"),
    "a softmax of 16,001": (unary("SOFTMAX", (1, 16_001)), Status.LIMITATION, "before it"),
    "a softmax of 2 rows": (unary("SOFTMAX", (2, 10)), Status.TWO_DIMENSIONAL, "before it"),
    "slopes by pixel": (prelu((8, 8, 16)), Status.LIMITATION, "each channel"),
    "padding of the batch": (pad([(0, 1), (0, 0), (0, 0), (0, 0)]), Status.RANK, "batch of one"),
    "a one from the middle": (squeeze((1, 8, 1, 16), (1, 8, 16)), Status.LIMITATION, "leading"),
    "packing as a batch": (pack(0), Status.LIMITATION, "first dimension"),
    "splitting the batch": (split(0), Status.LIMITATION, "first dimension"),
    "a slice with steps of 2": (strided([1, 2, 1]), Status.LIMITATION, "stride"),
    "a newer version": (unary("RELU", version=9), Status.VERSION, "older"),
}


@pytest.mark.parametrize("file", MAPPED.values(), ids=MAPPED)
def test_what_is_mapped(file):
    found = single(file)
    assert (found.status, found.reason) == (Status.MAPPED, "")


@pytest.mark.parametrize(("file", "status", "remedy"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_mapped_and_what_would_change_that(file, status, remedy):
    found = single(file)
    assert found.status is status
    assert found.reason
    assert remedy in found.remedy


def test_weights_that_are_computed_are_no_constants():
    made = net()
    made.input("w", (4, 1, 1, 16))
    made.constant("b", np.zeros(4))
    made.add("CONV_2D", ["x", "w", "b"], "y", (1, 8, 8, 4))
    assert single(made.file("y")).status is Status.NOT_CONSTANT


def test_a_shape_left_open_is_not_mapped():
    made = net()
    made.graph.tensors[0].shapeSignature = [1, -1, 8, 16]
    made.add("RELU", ["x"], "y", (1, 8, 8, 16))
    found = single(made.file("y"))
    assert found.status is Status.LIMITATION and "--shape" in found.remedy


@pytest.mark.parametrize(
    ("file", "before", "since"),
    [(prelu((16,)), 12, 13), (resize(halfPixelCenters=True), 13, 14)],
    ids=["prelu", "resize"],
)
def test_older_runtimes_map_less(file, before, since):
    assert single(file, runtime=since).status is Status.MAPPED
    found = single(file, runtime=before)
    assert found.status is Status.VERSION and str(since) in found.reason


@pytest.mark.parametrize(("size", "doubted"), [((64, 64), False), ((512, 512), True)])
def test_a_large_resize_is_mapped_with_a_doubt(size, doubted):
    found = single(resize(size))
    assert found.status is Status.MAPPED
    assert bool(found.caveat) is doubted


def test_a_float_input_is_quantized_on_the_cpu():
    made = net(dtype="float32")
    made.add("QUANTIZE", ["x"], "q", (1, 8, 8, 16))
    made.add("RELU", ["q"], "y", (1, 8, 8, 16))
    quantize, relu = predict(made.file("y")).operators
    assert quantize.status is Status.LIMITATION and "--io int8" in quantize.remedy
    assert relu.status is Status.MAPPED


def test_no_operator_is_both_mapped_and_replaced():
    assert not set(rules.RULES) & set(rules.REPLACEMENTS)


@pytest.mark.parametrize("file", [b"", b"TFL3", b"\0" * 64, b"\xff\xff\xff\xffTFL3" + b"\xff" * 64, conv()[:200]])
def test_what_is_no_file_is_refused(file):
    with pytest.raises(ModelRefused, match="no TensorFlow Lite file"):
        predict(file)


def test_versions_are_those_of_tensorflow_2_6():
    from edgec.backends.tflite.versions import INTRODUCED

    known = rules.RULES.keys() & INTRODUCED.keys()
    assert len(known) > 25
    for name in known:
        releases = [tuple(map(int, release.split("."))) for release in INTRODUCED[name]]
        assert rules.RULES[name].version == sum(release <= (2, 6) for release in releases), name
