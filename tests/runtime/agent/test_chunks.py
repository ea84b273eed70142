"""Content-defined chunks: one definition, two implementations, and what they are good for."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.runtime.agent import chunks
from edgec.runtime.agent.chunks import LARGEST, MEAN, SMALLEST, Index, digest_of
from edgec.shipping.repository import chunking


def _noise(size, seed=0, span=256):
    return np.random.default_rng(seed).integers(0, span, size, dtype=np.uint8).tobytes()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(1, 20_000), st.sampled_from([1, 2, 7, 256])), min_size=0, max_size=5
    )
)
def test_the_fast_cuts_are_the_ones_that_devices_make(parts):
    data = b"".join(_noise(size, seed, span) for seed, size, span in parts)
    assert list(chunking.cuts(data)) == list(chunks.cuts(data))


def test_blocks_of_the_fast_one_leave_no_seam():
    data = _noise(3 * (1 << 20) + 5, 3)
    assert list(chunking.cuts(data)) == list(chunks.cuts(data))


@pytest.mark.parametrize("size", [0, 1, SMALLEST - 1, SMALLEST, SMALLEST + 1, LARGEST, 100_000])
@pytest.mark.parametrize("span", [1, 256])
def test_sizes_stay_between_their_limits(size, span):
    data = _noise(size, 1, span)
    ends = list(chunks.cuts(data))
    sizes = np.diff([0, *ends])
    assert sum(sizes) == size
    assert all(SMALLEST <= each <= LARGEST for each in sizes[:-1])
    assert all(0 < each <= LARGEST for each in sizes)


def test_chunks_of_noise_have_about_the_size_that_they_should():
    ends = list(chunking.cuts(_noise(8 << 20)))
    assert 0.8 * MEAN < (8 << 20) / len(ends) < 1.4 * MEAN


def test_cuts_find_their_place_again_behind_an_insertion():
    data = _noise(300_000)
    before, after = (
        set(chunks.cuts(data)),
        {end - 1000 for end in chunks.cuts(data[:1000] + _noise(1000, 9) + data[1000:])},
    )
    assert len(before - after) <= 3


def test_an_index_can_be_packed_and_read_again(tmp_path):
    data = _noise(200_000)
    path = tmp_path / "file"
    path.write_bytes(data)
    index = chunks.index_of(path)
    assert index == chunking.index_of(path)
    assert (index.size, index.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert index.chunks[0].digest == digest_of(data[: index.chunks[0].size])
    assert Index.unpack(index.pack()) == index
    assert len(index.pack()) < 0.005 * len(data)


def test_an_empty_file_has_no_chunks(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    assert chunks.index_of(path) == chunking.index_of(path) == Index(0, hashlib.sha256().hexdigest(), ())


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda data: data[:20], "shorter"),
        (lambda data: b"x" + data[1:], "does not begin"),
        (lambda data: data[:-1], "not as long"),
        (lambda data: data + b"x", "not as long"),
        (lambda data: data[:60] + b"\xff\xff\xff\x7f" + data[64:], "do not make up"),
        (lambda data: data[:16] + b"\1" + data[17:], "do not make up"),
    ],
)
def test_what_is_not_an_index_is_refused(tmp_path, spoil, why):
    path = tmp_path / "file"
    path.write_bytes(_noise(50_000))
    with pytest.raises(ValueError, match=why):
        Index.unpack(spoil(chunks.index_of(path).pack()))
