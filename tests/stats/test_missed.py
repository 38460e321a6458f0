"""Missed faces: dimensions and bins, caps, state size, figures and tables."""

import json

import numpy as np
import pytest

from anon_batch.stats.missed import MissedStats
from anon_batch.stats.missed_figures import missed_figures
from anon_batch.stats.uncovered import LabelledRegions


def _faces(*faces, labels=None):
    """Faces as (longer side, brightness, uncovered)."""
    sides, brightness, uncovered = zip(*faces, strict=True) if faces else ((), (), ())
    return LabelledRegions(
        np.array(uncovered, bool),
        np.array(sides, np.float64),
        np.array(brightness, np.float64),
        ("unknown",) * len(faces),
        labels or ("face",) * len(faces),
    )


def _values(stats, dimension):
    return {
        value: (own["uncovered"], own["faces"]) for value, own in stats.summary()["groups"].get(dimension, {}).items()
    }


def test_dimensions_and_bins():
    stats = MissedStats()
    stats.add(
        _faces((15.9, 10, True), (16, 63.9, True), (31.5, 64, False), (300, np.nan, False)), {"slice_light": "night"}
    )
    stats.add(_faces((40, 255, False)), {"slice_light": "day"})
    stats.add(_faces(), {"slice_light": "dawn"})
    assert _values(stats, "all") == {"all": (2, 5), "from_16_px": (1, 4)}
    assert _values(stats, "size") == {
        "0 to 15 px": (1, 1),
        "16 to 31 px": (1, 2),
        "32 to 63 px": (0, 1),
        "256 and more px": (0, 1),
    }
    assert _values(stats, "brightness") == {
        "0 to 63": (1, 1),
        "64 to 127": (0, 1),
        "192 to 255": (0, 1),
        "unknown": (0, 1),
    }
    assert _values(stats, "crowding") == {"1": (0, 1), "4 to 9": (1, 3)}
    assert _values(stats, "slice_light") == {"day": (0, 1), "night": (1, 3)}
    assert (stats.images, stats.summary()["groups"]["all"]["from_16_px"]["images"]) == (3, 2)
    assert list(stats.summary()["groups"]["size"]) == ["0 to 15 px", "16 to 31 px", "32 to 63 px", "256 and more px"]


def test_withheld_images_are_counted_apart():
    stats = MissedStats()
    stats.add_unpublished(3)
    summary = stats.summary()
    assert (summary["images"], summary["unpublished_images"], summary["unpublished_faces"]) == (0, 1, 3)
    assert summary["groups"]["all"]["all"]["share"] is None
    figures, tables = missed_figures({"missed": summary, "found_by": {}})
    assert figures["missed.from_16_px"].value is None
    assert tables == {}


def test_no_ground_truth_gives_figures_that_say_so():
    assert MissedStats().summary() is None
    figures, tables = missed_figures({"missed": None, "found_by": {}})
    assert set(figures) == {"missed.all", "missed.from_16_px", "missed.at_least"}
    assert "no published image has ground truth" in figures["missed.all"].note
    assert tables == {}


def test_images_without_faces_give_figures_that_say_so():
    stats = MissedStats()
    stats.add(_faces(), {})
    figures, tables = missed_figures({"missed": stats.summary(), "found_by": {}})
    assert "have no such face" in figures["missed.all"].note
    assert tables == {}


def test_values_beyond_the_cap_are_counted_together():
    stats = MissedStats()
    for number in range(40):
        stats.add(_faces((20, 100, False)), {"slice_x": f"v{number:02d}"})
    assert len(_values(stats, "slice_x")) == 33
    assert _values(stats, "slice_x")["other"] == (0, 8)


def test_the_state_is_small():
    """Of a shard in which every dimension has all its values, with two slices."""
    rng = np.random.default_rng(0)
    stats = MissedStats()
    for number in range(2000):
        faces = [(2 ** rng.uniform(2, 9), rng.uniform(0, 255), rng.random() < 0.1) for _ in range(rng.integers(0, 15))]
        stats.add(_faces(*faces), {"slice_light": "abc"[number % 3], "slice_place": "de"[number % 2]})
    assert len(json.dumps(stats.to_state(), separators=(",", ":"))) < 1500
    assert MissedStats.from_state(json.loads(json.dumps(stats.to_state()))) == stats


def test_figures_and_tables():
    stats = MissedStats()
    for _ in range(120):
        stats.add(_faces((20, 30, False), (40, 100, False)), {"slice_light": "night"})
        stats.add(_faces((20, 30, True), (40, 100, False)), {"slice_light": "day light"})
    stats.add(_faces((70, 200, False)), {"slice_light": "night"})
    figures, tables = missed_figures({"missed": stats.summary(), "found_by": {}})
    headline = figures["missed.from_16_px"]
    assert headline.value == pytest.approx(120 / 481)
    assert headline.low < headline.value < headline.high
    assert (headline.n, headline.unit) == (481, "labelled faces in published images")
    assert figures["missed.size.16_to_31_px"].value == 0.5
    assert "fewer than 100" in figures["missed.size.64_to_127_px"].note
    assert set(tables) == {f"missed.{name}" for name in ("size", "brightness", "pose", "crowding", "slice_light")}
    table = tables["missed.slice_light"]
    assert table.columns == ("slice_light", "faces", "uncovered", "images", "share")
    assert [row[:4] for row in table.rows] == [("day light", 240, 120, 120), ("night", 241, 0, 121)]
    assert "Largest difference: 50.0 points, between day light and night." in table.note
    assert "Fewer than 100 faces" in tables["missed.size"].note
    assert "64 to 127 px" in tables["missed.size"].note
    assert "missed.label" not in tables
    assert figures["missed.slice_light.day_light"].value == 0.5


def test_labels_have_a_table_where_there_are_several():
    stats = MissedStats()
    stats.add(_faces((20, 30, False), (40, 100, True), labels=("face", "plate")), {})
    _, tables = missed_figures({"missed": stats.summary(), "found_by": {}})
    assert [row[0] for row in tables["missed.label"].rows] == ["face", "plate"]
    assert tables["missed.label"].columns == ("label", "regions", "uncovered", "images", "share")


def test_other_labels_count_for_themselves_and_not_as_faces():
    stats = MissedStats()
    labels = ("face", "licence_plate", "licence_plate")
    stats.add(_faces((20, 30, False), (40, 100, True), (12, 100, True), labels=labels), {"slice_light": "day"})
    figures, tables = missed_figures({"missed": stats.summary(), "found_by": {}})
    assert (figures["missed.all"].value, figures["missed.all"].n) == (0, 1)
    plates = figures["missed.label.licence_plate"]
    assert (plates.value, plates.n, plates.unit) == (1, 1, "labelled number plates in published images")
    assert {name for name in figures if ".label." in name} == {"missed.label.face", "missed.label.licence_plate"}
    for name in ("size", "brightness", "pose", "crowding", "slice_light"):
        assert sum(row[1] for row in tables[f"missed.{name}"].rows) == 1, name
    assert "number plates: read" in plates.note


def test_plates_alone_have_a_figure_of_their_own():
    stats = MissedStats()
    stats.add(_faces((40, 100, False), labels=("licence_plate",)), {})
    figures, tables = missed_figures({"missed": stats.summary(), "found_by": {}})
    assert figures["missed.all"].value is None
    assert figures["missed.label.licence_plate"].value == 0
    assert "missed.label" in tables


@pytest.mark.parametrize(
    "state",
    [
        [],
        [1, 2, 3, {}],
        [1, 2, -3, {}, {}],
        [1.0, 0, 0, {}, {}],
        [1, 0, 0, {"all": {"all": [1]}}, {}],
        [1, 0, 0, {}, []],
    ],
)
def test_a_damaged_state_is_refused(state):
    with pytest.raises((ValueError, TypeError, AttributeError)):
        MissedStats.from_state(state)
