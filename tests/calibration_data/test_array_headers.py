"""Array files are read without numpy and without trust."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgec.calibration_data import array_headers
from edgec.calibration_data.array_headers import read_headers
from edgec.errors import CalibrationDataError

dtypes = st.one_of(
    arrays.floating_dtypes(endianness="?"), arrays.integer_dtypes(endianness="?"), arrays.boolean_dtypes()
)


def npy(array: np.ndarray, **options: object) -> bytes:
    packed = io.BytesIO()
    np.save(packed, array, **options)
    return packed.getvalue()


@given(arrays.arrays(dtypes, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3), fill=st.just(0)))
@settings(max_examples=60, deadline=None)
def test_headers_say_what_numpy_wrote(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("npy") / "x.npy"
    path.write_bytes(npy(array))
    header = read_headers(path)[None]
    assert (header.dtype, header.shape) == (array.dtype.newbyteorder("=").name, array.shape)


def test_all_arrays_of_an_npz_are_listed(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros((2, 3), np.float32), b=np.int64(1))
    headers = read_headers(tmp_path / "x.npz")
    assert {name: (header.dtype, header.shape) for name, header in headers.items()} == {
        "a": ("float32", (2, 3)),
        "b": ("int64", ()),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "It is empty"),
        (b"PK\x03\x04", "does not begin as numpy's format"),
        (npy(np.zeros(100))[:-1], "should have 800 bytes of numbers, and has 799"),
        (npy(np.zeros(100)) + b"x", "should have 800 bytes"),
        (npy(np.zeros(100))[:20], "cut off|can't be understood"),
        (npy(np.array([{}, None], object), allow_pickle=True), "pickled Python objects"),
        (npy(np.array(["text"])), "does not hold plain numbers"),
        (npy(np.zeros(2, complex)), "does not hold plain numbers"),
        (npy(np.zeros(2, [("a", "f4")])), "does not hold plain numbers"),
        (b"\x93NUMPY\x02\0\xff\xff\xff\x7f{}", "far too long"),
        (b"\x93NUMPY\x01\0\x10\0" + b"(" * 16, "can't be understood"),
        (b"\x93NUMPY\x01\0\x3c\0" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -1)}".ljust(60), "sizes"),
    ],
)
def test_damage_and_tricks_are_refused(tmp_path, content, message):
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(CalibrationDataError, match=message) as caught:
        read_headers(path)
    assert "x.npy" in caught.value.what


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(array_headers, "MAX_MEMBER_BYTES", 1000)
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros(10000))
    assert (tmp_path / "x.npz").stat().st_size < 1000
    with pytest.raises(CalibrationDataError, match="'x', is too large"):
        read_headers(tmp_path / "x.npz")


def test_a_header_that_promises_more_than_the_archive_holds_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", npy(np.zeros((1, 9))).replace(b"(1, 9)", b"(9, 9)"))
    with pytest.raises(CalibrationDataError, match="should have 648 bytes"):
        read_headers(tmp_path / "x.npz")


@given(st.binary(max_size=300), st.integers(0, 400))
@settings(max_examples=100, deadline=None)
def test_noise_is_a_calibration_data_error_and_nothing_else(tmp_path_factory, noise, at):
    packed = io.BytesIO()
    np.savez_compressed(packed, x=np.zeros((4, 4)), y=np.arange(9))
    content = bytearray(packed.getvalue())
    content[at : at + len(noise)] = noise
    folder = tmp_path_factory.mktemp("noise")
    for name in ("x.npz", "x.npy"):
        (folder / name).write_bytes(bytes(content))
        try:
            read_headers(folder / name)
        except CalibrationDataError as error:
            assert error.fix
