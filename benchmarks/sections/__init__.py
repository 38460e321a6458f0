"""The parts of a benchmark that can be chosen: each measures, and shows its figures as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from benchmarks.sections import faceless, faces, gpu, large, methods, overhead, photos, scale
from benchmarks.tables import Table
from benchmarks.workplace import Workplace


class Section(NamedTuple):
    """One part.

    Args:
        title: what it measures, in a line.
        measure: returns figures that JSON can hold; `ratios` and `checks` among them go to the summary.
        tables: shows such figures, also those read from a file.
    """

    title: str
    measure: Callable[[Workplace], dict[str, Any]]
    tables: Callable[[Mapping[str, Any]], list[Table]]


SECTIONS: Mapping[str, Section] = {
    "photos": Section("Photographs: bare loop, this project, deface", photos.measure, photos.tables),
    "faceless": Section("The same photographs without faces", faceless.measure, faceless.tables),
    "large": Section("Photographs of 12 megapixels", large.measure, large.tables),
    "methods": Section("A run with each method", methods.measure, methods.tables),
    "faces": Section("Faces a second of one core", faces.measure, faces.tables),
    "overhead": Section("What Ray, the driver and the commits take", overhead.measure, overhead.tables),
    "scale": Section("Rows without networks", scale.measure, scale.tables),
    "gpu": Section("GPU", gpu.measure, gpu.tables),
}
