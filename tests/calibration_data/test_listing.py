"""The order of files is the one a person expects, and the same everywhere."""

from hypothesis import given
from hypothesis import strategies as st

from edgec.calibration_data.listing import describe_left_aside, natural_key


def test_numbers_in_names_count_by_value():
    assert sorted(["img10", "img2", "Img1", "a/2", "a/10", "b"], key=natural_key) == [
        "a/2",
        "a/10",
        "b",
        "Img1",
        "img2",
        "img10",
    ]


@given(st.lists(st.text("aB0129²٣/._", max_size=8), unique=True, max_size=8), st.randoms())
def test_the_order_is_total_and_does_not_depend_on_the_start(names, random):
    shuffled = list(names)
    random.shuffle(shuffled)
    assert sorted(names, key=natural_key) == sorted(shuffled, key=natural_key)


def test_long_lists_are_cut():
    assert describe_left_aside(["a"]) == "1 file: a"
    assert describe_left_aside("abcdef") == "6 files: a, b, c, d and 2 more"
