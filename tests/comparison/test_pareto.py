"""The Pareto front: nobody on it is beaten, and who is not on it is."""

from hypothesis import given
from hypothesis import strategies as st

from edgec.comparison.pareto import dominates, front

FIGURE = st.integers(0, 5).map(float)
POINTS = st.lists(st.tuples(FIGURE, FIGURE, FIGURE), max_size=12)


@given(POINTS)
def test_nobody_on_the_front_is_dominated_and_everybody_else_is_by_one_on_it(points):
    on = front(points)
    for number, point in enumerate(points):
        beaten = any(dominates(points[other], point) for other in on)
        assert beaten == (number not in on)


@given(POINTS, st.randoms())
def test_the_order_of_points_does_not_matter(points, random):
    shuffled = list(points)
    random.shuffle(shuffled)
    assert sorted(points[number] for number in front(points)) == sorted(shuffled[number] for number in front(shuffled))


@given(POINTS.filter(bool))
def test_the_best_in_any_one_figure_is_matched_on_the_front(points):
    on = [points[number] for number in front(points)]
    for axis in range(3):
        assert min(point[axis] for point in on) == min(point[axis] for point in points)


def test_equal_points_stand_together():
    assert front([(1.0, 2.0), (1.0, 2.0), (2.0, 1.0), (2.0, 2.0)]) == (0, 1, 2)
