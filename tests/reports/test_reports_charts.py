"""Charts are well-formed, put values where they belong, and survive the inputs that real runs have."""

import re
from xml.etree import ElementTree

import pytest

from lightning_st.reports.charts import (
    Axis,
    Interval,
    Series,
    bar_chart,
    interval_chart,
    line_chart,
    round_values,
    thin,
)

LABELS = ("step", "AP")


def parse(svg):
    return ElementTree.fromstring(str(svg))


def texts(svg):
    return [element.text for element in parse(svg).iter("text")]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.347, [0, 0.1, 0.2, 0.3]),
        (0, 3200, [0, 1000, 2000, 3000]),
        (-0.5, 10.5, [0, 5, 10]),
        (0, 1e-6, [0, 2e-7, 4e-7, 6e-7, 8e-7, 1e-6]),
    ],
)
def test_ticks_are_round_and_inside(low, high, expected):
    assert round_values(low, high) == pytest.approx(expected)


def test_an_axis_places_its_ends_at_its_pixels():
    axis = Axis(0.0, 2.0, 100, 10)
    assert (axis.place(0), axis.place(1), axis.place(2)) == (100, 55, 10)


def test_a_line_stands_where_its_values_are():
    svg = line_chart([Series("teacher", "teacher", [(0, 0.0), (100, 1.0)])], LABELS, "alt", (0, 200), (0, 2))
    points = parse(svg).find("polyline").get("points")
    (x0, y0), (x1, y1) = (map(float, pair.split(",")) for pair in points.split())
    axis_line = next(e for e in parse(svg).iter("line") if e.get("class") == "axis")
    left, right, bottom = (float(axis_line.get(key)) for key in ("x1", "x2", "y1"))
    assert (x0, y0) == (left, bottom)
    assert x1 == pytest.approx((left + right) / 2)
    assert y1 == pytest.approx((bottom + 12) / 2)


def test_names_in_a_chart_cannot_break_it():
    svg = line_chart([Series('<b>"x&y', "student", [(0, 1.0)])], ("a<b", 'c"d'), '"><script>')
    assert parse(svg).get("aria-label") == '"><script>'
    assert {"a<b", 'c"d'} <= set(texts(svg))
    assert "<script>" not in svg


@pytest.mark.parametrize("points", [[(0, 0.0)], [(5, 0.3)], [(0, 0.0), (10, 0.0)]], ids=["zero", "single", "flat zero"])
def test_degenerate_lines_are_drawn(points):
    numbers = re.findall(r'points="([^"]*)"', str(line_chart([Series("x", "student", points)], LABELS, "alt")))[0]
    assert len(numbers.split()) == len(points)
    assert "nan" not in numbers


def test_a_long_curve_is_thinned_to_means_and_keeps_its_spike():
    points = [(float(step), 1000.0 if step == 500 else 1.0) for step in range(1000)]
    shown = thin(points, most=200)
    assert len(shown) == 200
    assert shown[0] == (2.0, 1.0)
    assert max(y for _, y in shown) == pytest.approx((1000 + 4) / 5)
    assert thin(points[:200], most=200) == points[:200]


def test_bars_of_one_bin_stand_side_by_side_and_empty_bins_are_not_drawn():
    svg = bar_chart([("teacher", [0, 4]), ("student", [2, 1])], (-0.5, 1.0), LABELS, "alt")
    bars = [
        (e.get("class"), float(e.get("x")), float(e.get("width")), float(e.get("height")))
        for e in parse(svg).iter("rect")
    ]
    assert [bar[0] for bar in bars] == ["bar teacher", "bar student", "bar student"]
    (_, teacher_x, width, tallest), (_, _, _, half), (_, student_x, _, quarter) = bars
    assert student_x == pytest.approx(teacher_x + width, abs=0.11)
    assert (half, quarter) == pytest.approx((tallest / 2, tallest / 4), abs=0.11)


def test_a_log_scale_shows_small_counts_beside_large_ones():
    svg = bar_chart([("student", [99999, 9, 0])], (0.0, 1.0), LABELS, "alt", log=True)
    heights = [float(element.get("height")) for element in parse(svg).iter("rect")]
    assert heights[0] / heights[1] == pytest.approx(5, rel=0.01)
    assert [text for text in texts(svg) if text in ("0", "1", "10", "100", "1,000", "10,000")][:5] == [
        "0",
        "1",
        "10",
        "100",
        "1,000",
    ]


def test_no_bars_at_all_are_a_frame():
    assert list(parse(bar_chart([("student", [0, 0])], (0.0, 0.5), LABELS, "alt", log=True)).iter("rect")) == []


def test_marks_stand_at_their_values():
    svg = bar_chart([("student", [1, 1])], (0.0, 0.5), LABELS, "alt", marks=[0.5])
    (mark,) = [element for element in parse(svg).iter("line") if element.get("class") == "mark"]
    assert mark.get("x1") == mark.get("x2") == f"{(64 + 456) / 2:.1f}"


def column_names(categories):
    """What stands below the x axis: (x, y, text)."""
    points = [Interval("supervised", "teacher", place, 0.4, 0.01) for place in range(len(categories))]
    named = [text for text in parse(interval_chart(points, categories, "AP", "alt")).iter("text") if len(text)]
    return [(float(text.get("x")), float(text.get("y")), text.text) for text in named]


def test_levels_of_two_factors_stand_in_two_rows():
    names = column_names([(first, second) for first in ("S1", "S4") for second in ("random", "simclr")])
    rows = {y: [text for _, other, text in names if other == y] for _, y, _ in names}
    inner, outer = (rows[y] for y in sorted(rows))
    assert (inner, outer) == (["random", "simclr"] * 2, ["S1", "S4"])
    x = {text: x for x, _, text in names if text in outer}
    columns = [x for x, _, text in names if text in inner]
    assert [x["S1"], x["S4"]] == pytest.approx([sum(columns[:2]) / 2, sum(columns[2:]) / 2])


def test_a_single_factor_with_many_levels_takes_turns():
    names = column_names([(f"rule number {number}",) for number in range(8)])
    assert [y for _, y, _ in names[:4]] == [names[0][1], names[1][1]] * 2
    assert names[0][1] != names[1][1]
    assert names[0][2] == "rule n…"
