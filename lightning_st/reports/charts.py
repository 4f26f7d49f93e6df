"""Line and bar charts as inline SVG: no script, no font, colours from the page's style sheet, always the same bytes."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from lightning_st.reports.text import tick_text

_WIDTH, _HEIGHT = 480, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 456, 12, 226  # room for five characters at each end, on a phone too
_MOST_POINTS = 200
_DOTS_UP_TO = 25


@dataclass(frozen=True)
class Series:
    """A line of a chart.

    Attributes:
        name: What the legend says.
        style: Its class in the style sheet, such as "teacher".
        points: (x, y) pairs, x ascending.
    """

    name: str
    style: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """A chart with all that a page says around it.

    Attributes:
        title: Its heading.
        svg: The drawing.
        legend: (name, style) of each series.
        note: What to know when reading it.
    """

    title: str
    svg: Markup
    legend: list[tuple[str, str]]
    note: str = ""


@dataclass(frozen=True)
class Axis:
    """A linear axis: values from ``low`` to ``high`` stand between the pixels ``start`` and ``end``."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Return the pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values on the axis, at most seven."""
        return round_values(self.low, self.high)


def round_values(low: float, high: float, most: int = 6) -> list[float]:
    """Return the multiples of 1, 2 or 5 times a power of ten between two values, about ``most`` of them.

    Example:
        >>> round_values(0, 0.5)
        [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    """
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def thin(points: Sequence[tuple[float, float]], most: int = _MOST_POINTS) -> list[tuple[float, float]]:
    """Return at most ``most`` points: the means of neighbours, so that a spike still shows in a long curve."""
    size = math.ceil(len(points) / most)
    if size <= 1:
        return list(points)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def line_chart(
    series: Sequence[Series],
    labels: tuple[str, str],
    alt: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    marks: Iterable[float] = (),
    diagonal: bool = False,
) -> Markup:
    """Draw lines.

    Args:
        series: The lines; together they hold at least one point.
        labels: What stands on the x and on the y axis.
        alt: What the drawing shows, for those who cannot see it.
        x_range: Ends of the x axis; None for 0 to the highest x.
        y_range: Ends of the y axis; None for 0 to the highest y.
        marks: Where upright dashed lines stand, in values of x.
        diagonal: Draw a dashed line where y is x, from 0 to 1.
    """
    points = [point for line in series for point in line.points]
    x_axis = Axis(*(x_range or (0.0, max(x for x, _ in points) or 1.0)), _LEFT, _RIGHT)
    y_axis = Axis(*(y_range or (0.0, max(y for _, y in points) * 1.05 or 1.0)), _BOTTOM, _TOP)
    parts = _frame(x_axis, _plain_ticks(y_axis), labels)
    parts += [_mark(x_axis.place(x)) for x in marks]
    if diagonal:
        ends = [axis.place(value) for axis in (x_axis, y_axis) for value in (0, 1)]
        parts.append(Markup('<line class="mark" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(*ends))
    for line in series:
        shown = thin(line.points)
        places = [(x_axis.place(x), y_axis.place(y)) for x, y in shown]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(Markup('<polyline class="line {}" points="{}"/>').format(line.style, path))
        if len(shown) <= _DOTS_UP_TO:
            dot = Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="3"><title>{}</title></circle>')
            hints = [f"{line.name}: {labels[0]} {x:,.6g}, {labels[1]} {y:.4g}" for x, y in shown]
            parts += [dot.format(line.style, x, y, hint) for (x, y), hint in zip(places, hints, strict=True)]
    return _svg(parts, alt)


def bar_chart(
    series: Sequence[tuple[str, Sequence[float]]],
    bins: tuple[float, float],
    labels: tuple[str, str],
    alt: str,
    marks: Iterable[float] = (),
    log: bool = False,
) -> Markup:
    """Draw the histograms of one or more series, bars of one bin side by side.

    Args:
        series: The style of each, and its heights.
        bins: Where the first bin begins, and how wide each is, in values of x.
        labels: What stands on the x and on the y axis.
        alt: What the drawing shows.
        marks: Where upright dashed lines stand, in values of x.
        log: Heights as log10(1 + n), for counts that differ by powers of ten.
    """
    start, width = bins
    bin_count = max(len(heights) for _, heights in series)
    highest = max((height for _, heights in series for height in heights), default=0.0)
    x_axis = Axis(start, start + bin_count * width, _LEFT, _RIGHT)
    y_axis = Axis(0.0, _scaled(highest, log) * 1.05 or 1.0, _BOTTOM, _TOP)
    ticks = [0, *(10**power for power in range(len(str(int(highest)))))] if log else y_axis.ticks()
    parts = _frame(x_axis, [(y_axis.place(_scaled(value, log)), tick_text(value)) for value in ticks], labels)
    bar = Markup('<rect class="bar {}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>')
    bar_width = (x_axis.place(start + width) - _LEFT) * 0.84 / len(series)
    for number, (style, heights) in enumerate(series):
        for place, height in enumerate(heights):
            if height:
                left = x_axis.place(start + (place + 0.08) * width) + bar_width * number
                top = y_axis.place(_scaled(height, log))
                parts.append(bar.format(style, left, top, bar_width, _BOTTOM - top, _height_text(height)))
    return _svg([*parts, *(_mark(x_axis.place(x)) for x in marks)], alt)


@dataclass(frozen=True)
class Interval:
    """A point with the bar of its uncertainty.

    Attributes:
        name: What the legend says.
        style: Its class in the style sheet.
        place: Which category it belongs to, from 0 on.
        value: Where the point stands.
        error: How far the bar reaches to both sides.
    """

    name: str
    style: str
    place: int
    value: float
    error: float


def interval_chart(points: Sequence[Interval], categories: Sequence[Sequence[str]], label: str, alt: str) -> Markup:
    """Draw points with error bars, a column a category, those of one category side by side.

    Args:
        points: At least one.
        categories: What stands below each column: its level of each factor, as many for all, the outermost first.
        label: What stands on the y axis.
        alt: What the drawing shows.
    """
    low, high = min(p.value - p.error for p in points), max(p.value + p.error for p in points)
    margin = 0.08 * (high - low) or 0.01
    y_axis = Axis(low - margin, high + margin, _BOTTOM, _TOP)
    step = (_RIGHT - _LEFT) / len(categories)
    parts = [*_grid(_plain_ticks(y_axis)), *_column_names(categories, step)]
    names = [", ".join(levels) for levels in categories]
    styles = list(dict.fromkeys(point.style for point in points))
    bar = Markup('<line class="line {}" x1="{x:.1f}" x2="{x:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    dot = Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="4"><title>{}</title></circle>')
    for point in points:
        shift = (styles.index(point.style) - (len(styles) - 1) / 2) * min(18.0, step / 4)
        x = _LEFT + (point.place + 0.5) * step + shift
        ends = y_axis.place(point.value - point.error), y_axis.place(point.value + point.error)
        hint = f"{point.name}, {names[point.place]}: {point.value:.3f} ± {point.error:.3f}"
        parts += [bar.format(point.style, *ends, x=x), dot.format(point.style, x, y_axis.place(point.value), hint)]
    middle = (_TOP + _BOTTOM) / 2
    turned = Markup('<text x="13" y="{0}" text-anchor="middle" transform="rotate(-90 13 {0})">{1}</text>')
    return _svg([*parts, turned.format(middle, label)], alt)


def _column_names(categories: Sequence[Sequence[str]], step: float) -> Iterator[Markup]:
    """Write the levels of the last factor below their columns, and below these those of the others, once a group.

    Args:
        categories: See ``interval_chart``.
        step: Width of a column in pixels.
    """
    text = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="middle">{}<title>{}</title></text>')
    begun = 0
    for outer, group in groupby(categories, key=lambda levels: ", ".join(levels[:-1])):
        inner = [levels[-1] for levels in group]
        for place, name in enumerate(inner, begun):
            is_lower = not outer and place % 2 == 1 and step <= 90  # where there is room, neighbours do not touch
            shown, row = _shortened(name, step), 32 if is_lower else 17
            yield text.format(_LEFT + (place + 0.5) * step, _BOTTOM + row, shown, name)
        width = len(inner) * step
        if outer:
            yield text.format(_LEFT + begun * step + width / 2, _BOTTOM + 35, _shortened(outer, width), outer)
        begun += len(inner)


def _shortened(name: str, width: float) -> str:
    """Return a name that is cut, with dots at its end, where it is longer than ``width`` pixels."""
    most = max(4, int(width / 6.5))
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _scaled(value: float, log: bool) -> float:
    return math.log10(1 + value) if log else value


def _height_text(height: float) -> str:
    """Write the height of a bar: a count in full, a share with as many digits as matter."""
    return f"{height:,.0f}" if float(height).is_integer() else f"{height:.3g}"


def _plain_ticks(axis: Axis) -> list[tuple[float, str]]:
    return [(axis.place(value), tick_text(value)) for value in axis.ticks()]


def _frame(x_axis: Axis, y_ticks: Sequence[tuple[float, str]], labels: tuple[str, str]) -> list[Markup]:
    """Draw grid lines, the numbers at the ticks, and the names of the axes."""
    text = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    parts = _grid(y_ticks)
    for value in x_axis.ticks():
        parts.append(text.format(x_axis.place(value), _BOTTOM + 17, "middle", tick_text(value)))
    middle = (_TOP + _BOTTOM) / 2
    turned = Markup('<text x="13" y="{0}" text-anchor="middle" transform="rotate(-90 13 {0})">{1}</text>')
    return [
        *parts,
        text.format((_LEFT + _RIGHT) / 2, _HEIGHT - 8, "middle", labels[0]),
        turned.format(middle, labels[1]),
    ]


def _grid(y_ticks: Sequence[tuple[float, str]]) -> list[Markup]:
    """Draw a line and a number at each tick of the y axis, and the x axis."""
    grid = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
    text = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>')
    parts = []
    for y, label in y_ticks:
        parts += [grid.format(_LEFT, _RIGHT, y, y), text.format(_LEFT - 7, y + 4, label)]
    return [
        *parts,
        Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(_LEFT, _RIGHT, _BOTTOM, _BOTTOM),
    ]


def _mark(x: float) -> Markup:
    return Markup('<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(x, _TOP, _BOTTOM)


def _svg(parts: Iterable[Markup], alt: str) -> Markup:
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, _HEIGHT, alt)
    return Markup("\n").join([head, *parts, Markup("</svg>")])
