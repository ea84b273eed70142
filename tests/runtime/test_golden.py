"""The golden samples come back as they were written, and equal samples give equal bytes."""

from __future__ import annotations

import numpy as np
import pytest

from edgec.runtime.errors import BundleError
from edgec.runtime.golden import read_golden, write_golden


def _samples():
    rng = np.random.default_rng(0)
    feeds = {"image/0": rng.normal(size=(1, 3, 4, 4)).astype(np.float32), "length": np.array([7], np.int64)}
    outputs = {"../score": np.float32(0.5), "mask": np.array([[True, False]])}
    return [[(feeds, outputs), (feeds, outputs)], [(feeds, outputs)]]


def test_what_is_written_is_read(tmp_path):
    samples = _samples()
    write_golden(tmp_path / "golden.npz", samples, {"../score": 0.25})
    golden = read_golden(tmp_path / "golden.npz")
    assert golden.steps == {"../score": 0.25}
    assert [len(sample) for sample in golden.samples] == [2, 1]
    for written, read in zip(samples, golden.samples, strict=True):
        for step, again in zip(written, read, strict=True):
            for before, after in zip(step, again, strict=True):
                assert list(before) == list(after)
                for name, array in before.items():
                    assert after[name].dtype == np.asarray(array).dtype
                    np.testing.assert_array_equal(after[name], array)


def test_equal_samples_give_equal_bytes(tmp_path):
    write_golden(tmp_path / "a.npz", _samples(), {})
    write_golden(tmp_path / "b.npz", _samples(), {})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("samples", [[], [[]]])
def test_nothing_to_replay_is_refused(tmp_path, samples):
    with pytest.raises(ValueError, match="at least one"):
        write_golden(tmp_path / "golden.npz", samples, {})


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"no archive at all"])
def test_a_damaged_file_is_named(content):
    with pytest.raises(BundleError, match="golden samples"):
        read_golden(content)


def test_objects_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "golden.npz", inputs=np.array([{"a": 1}], dtype=object))
    with pytest.raises(BundleError):
        read_golden(tmp_path / "golden.npz")
