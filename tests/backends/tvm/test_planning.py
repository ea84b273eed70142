"""The plan of the arena."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.backends.tvm.planning import Lifetime, least_size, plan
from edgec.backends.tvm.storage import ALIGNMENT

lifetimes = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3),
    st.builds(
        lambda size, first, length: Lifetime(size, first, first + length),
        st.integers(1, 5000),
        st.integers(0, 20),
        st.integers(0, 8),
    ),
    max_size=25,
)


@given(lifetimes)
def test_values_that_live_at_one_time_share_no_byte(values):
    made = plan(values)
    for one in values:
        for other in values:
            if one < other and values[one].overlaps(values[other]):
                a, b = made.offsets[one], made.offsets[other]
                assert a + values[one].size <= b or b + values[other].size <= a


@given(lifetimes)
def test_every_value_is_inside_and_aligned(values):
    made = plan(values)
    for name, item in values.items():
        assert made.offsets[name] % ALIGNMENT == 0
        assert made.offsets[name] + item.size <= made.size


@given(lifetimes)
def test_no_plan_is_below_what_lives_together(values):
    assert plan(values).size >= least_size(values)


@given(lifetimes)
def test_the_order_in_which_values_are_named_does_not_matter(values):
    assert plan(dict(reversed(values.items()))) == plan(values)


def test_a_chain_takes_two_values():
    """Each value lives for one step behind its own: two are enough, however long the chain."""
    chain = {f"v{step}": Lifetime(1000, step, step + 1) for step in range(10)}
    assert plan(chain).size == least_size(chain) + (1024 - 1000) * 2


def test_a_result_never_lies_over_its_operands():
    made = plan({"x": Lifetime(64, 0, 1), "y": Lifetime(64, 1, 2)})
    assert made.offsets["x"] != made.offsets["y"]


@pytest.mark.parametrize(("at_end", "offset"), [(True, 100), (False, -1)])
def test_memory_of_tests_ends_where_it_ends(at_end, offset):
    """The premise of every test that runs a library in it: a byte beyond is a fault."""
    script = (
        "import ctypes\nfrom tests.backends.tvm.guarded import _Region\n"
        f"region = _Region(100, {at_end})\nregion.bytes[:] = 7\n"
        f"ctypes.c_uint8.from_address(region.address + {offset}).value\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[3], capture_output=True)
    assert done.returncode == -signal.SIGSEGV
