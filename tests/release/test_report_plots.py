"""Plots: scales hold every value, SVG is escaped and deterministic, any data can be drawn."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anon_batch.release.report.plots import Axis, Bar, Bars, Histogram, Line, Lines, Mark, Plot, draw
from anon_batch.release.report.plots.plot import columns_of, rows_of, units_of
from anon_batch.release.report.plots.scale import scale_over

NUMBERS = st.floats(-1e30, 1e30, allow_subnormal=False)
POSITIVE = st.floats(1e-30, 1e30)
HOSTILE = "\"><script>alert('x')</script>&amp;\u202e\x00"


@given(st.lists(NUMBERS, min_size=1, max_size=20), st.booleans())
def test_a_linear_scale_holds_all_values_in_order(values: list[float], zero: bool) -> None:
    scale = scale_over(values, 10, 400, zero=zero)
    assert scale.low < scale.high
    rounding = (scale.high - scale.low) * 1e-6
    assert scale.low <= min(values) + rounding
    assert scale.high >= max(values) - rounding
    places = [scale.place(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(10 - 1e-6 <= place <= 400 + 1e-6 for place in places)
    assert 1 <= len(scale.ticks()) <= 14


@given(st.lists(POSITIVE, min_size=1, max_size=20))
def test_a_logarithmic_scale_holds_all_values_in_order(values: list[float]) -> None:
    scale = scale_over([*values, 0.0, -3.0], 10, 400, log=True)
    assert scale.low <= min(values) * (1 + 1e-9)
    assert scale.high >= max(values) * (1 - 1e-9)
    assert [scale.place(value) for value in sorted(values)] == sorted(scale.place(value) for value in values)
    assert 1 <= len(scale.ticks()) <= 12


def svg(plot: Plot) -> ET.Element:
    text = draw(plot, "name")
    assert text == draw(plot, "name")
    assert "nan" not in text
    return ET.fromstring(text)


@given(st.lists(st.tuples(st.text(max_size=40), st.none() | NUMBERS), max_size=12))
def test_any_bars_can_be_drawn(values: list[tuple[str, float | None]]) -> None:
    bars = tuple(Bar(name, value, value, value) for name, value in values)
    drawn = svg(Bars(HOSTILE, HOSTILE, Axis(HOSTILE, "share"), bars, (Mark(0.5, "limit"),)))
    assert len([own for own in drawn.iter() if own.get("class") == "bar"]) == sum(v is not None for _, v in values)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=12), st.booleans(), st.booleans())
def test_any_lines_can_be_drawn(points: list[tuple[float, float]], log_x: bool, log_y: bool) -> None:
    band = tuple((x, y, y) for x, y in points)
    line = Line(HOSTILE, tuple(points), band)
    svg(Lines("title", "about", Axis("x", "number", log_x), Axis("y", "share", log_y), (line,) * 8, (Mark(1.0, "m"),)))


@given(st.lists(st.integers(0, 10**30), min_size=1, max_size=20))
def test_any_histogram_can_be_drawn(counts: list[int]) -> None:
    borders = tuple(float(2**i) for i in range(len(counts) + 1))
    plot = Histogram("title", "about", Axis("x", "number", log=True), Axis("y"), borders, tuple(counts))
    assert len([own for own in svg(plot).iter() if own.get("class") == "bar"]) == sum(count > 0 for count in counts)


def test_a_plot_has_a_title_a_description_and_all_its_data_as_a_table() -> None:
    plot = Lines("Title", "About", Axis("a"), Axis("b"), (Line("l", ((1, 2), (3, 4)), ((1, 1.5, 2.5),)),))
    drawn = svg(plot)
    labels = (drawn.get("aria-labelledby") or "").split()
    assert [own.text for own in drawn if own.get("id") in labels] == ["Title", "About"]
    assert list(rows_of(plot)) == [("l", 1, 2, 1.5, 2.5), ("l", 3, 4, None, None)]
    assert len(columns_of(plot)) == len(units_of(plot)) == 5


def test_bars_are_as_long_as_their_values() -> None:
    drawn = svg(Bars("t", "a", Axis("x"), (Bar("a", 1.0), Bar("b", 2.0), Bar("c", -1.0))))
    widths = [float(own.get("width", "nan")) for own in drawn.iter() if own.get("class") == "bar"]
    assert math.isclose(widths[1], 2 * widths[0], abs_tol=0.2)
    assert math.isclose(widths[2], widths[0], abs_tol=0.2)


def test_a_histogram_needs_a_border_more_than_bins() -> None:
    with pytest.raises(ValueError, match="1 bins and 3 borders"):
        Histogram("t", "a", Axis("x"), Axis("y"), (1, 2, 3), (1,))
