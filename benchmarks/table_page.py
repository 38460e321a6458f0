"""The table as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anon_batch.evaluate.attacks.attackers import NAMES
from anon_batch.evaluate.attacks.chance import SIGNIFICANT
from benchmarks import published

Result = Mapping[str, Any]  # of one method, as `table.measure` keeps it
Columns = tuple[tuple[str, Callable[[Result], str | None]], ...]
_DASH = "-"


def render(content: Mapping[str, Any]) -> str:
    """Return the page of all sections, with the published figures below."""
    parts = [_section(section) for section in content["sections"]]
    return "\n\n".join([*parts, _published(content["sections"])]) + "\n"


def _section(section: Mapping[str, Any]) -> str:
    results: Sequence[Result] = section["results"]
    tables = [_shown(columns, results) for columns in (_USE, _RECOGNISED)]
    blocks = [f"## {section['title']}", *("\n".join(own) for own in tables if own), "\n".join(_notes(results))]
    return "\n\n".join(blocks)


def _shown(columns: Columns, results: Sequence[Result]) -> list[str]:
    """Return a table of the columns that have a figure."""
    cells = [(title, [_cell(cell, result) for result in results]) for title, cell in columns]
    shown = [(title, own) for title, own in cells if any(text != _DASH for text in own)]
    rows = [[f"`{result['method']}`", *(own[at] for _, own in shown)] for at, result in enumerate(results)]
    return _table(["", *(title for title, _ in shown)], rows) if shown else []


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(cell: Callable[[Result], str | None], result: Result) -> str:
    return cell(result) or _DASH


def _own(result: Result) -> Mapping[str, Any]:
    own: Mapping[str, Any] = result["measures"]["methods"][result["method"]]
    return own


def _kept(band: str) -> Callable[[Result], str | None]:
    def cell(result: Result) -> str | None:
        found = _own(result)["average_precision"]
        return (
            None
            if found is None
            else _share(found["labelled_faces"][band]["kept"], found["labelled_faces"][band]["interval"])
        )

    return cell


def _wider(difficulty: str) -> Callable[[Result], str | None]:
    def cell(result: Result) -> str | None:
        found = _own(result)["wider"].get(difficulty)
        return None if found is None else _share(found["kept"], found["interval"])

    return cell


def _wider_mean(result: Result) -> str | None:
    kept = [own["kept"] for own in _own(result)["wider"].values()]
    return None if not kept or None in kept else f"{sum(kept) / len(kept):.1%}"


def _missed(band: str) -> Callable[[Result], str | None]:
    def cell(result: Result) -> str | None:
        found = _own(result)["missed"]
        own = None if found is None else found["groups"]["all"][band]
        return None if own is None or own["low"] is None else _share(own["share"], (own["low"], own["high"]))

    return cell


def _attack(scene: str, attack: str | None = None) -> Callable[[Result], str | None]:
    """Return the strongest attacker of a scene, or the strongest with one attack."""

    def cell(result: Result) -> str | None:
        found = (_own(result)["reidentification"] or {}).get(scene)
        made = [] if found is None else [own for own in found["attackers"] if attack in (None, own["attack"])]
        rank = made[0]["rank_1"] if made else {"value": None}
        return None if rank["value"] is None else _share(rank["value"], (rank["low"], rank["high"]))

    return cell


def _verdict(result: Result) -> str | None:
    found = (_own(result)["reidentification"] or {}).get("face_alone")
    if not found or not found["attackers"]:
        return None
    if found["least_recognisable"] is None:
        return "too few persons"
    p_value = found["attackers"][0]["p_value"]
    return f"{'above chance' if p_value < SIGNIFICANT else 'chance'} (p = {p_value:.4f})"


def _probe(features: str) -> Callable[[Result], str | None]:
    def cell(result: Result) -> str | None:
        found = _own(result)["probe"].get(features, {}).get("all")
        return (
            None if found is None else f"{found['auc']:.2f} ({found['interval'][0]:.2f} to {found['interval'][1]:.2f})"
        )

    return cell


def _seam(result: Result) -> str | None:
    found = _own(result)["seam"]
    return None if not found or found["ratio"] is None else f"{found['ratio']:.2f}"


def _pace(what: str) -> Callable[[Result], str | None]:
    def cell(result: Result) -> str | None:
        found = None if result["pace"] is None else result["pace"][what]
        return None if found is None else _rate(found["per_s"], found["slowest"], found["fastest"])

    return cell


_USE: Columns = (
    ("AP kept, all faces", _kept("all")),
    ("AP kept, from 16 px", _kept("from_16_px")),
    ("AP kept, easy", _wider("easy")),
    ("AP kept, medium", _wider("medium")),
    ("AP kept, hard", _wider("hard")),
    ("mean of the three", _wider_mean),
    ("missed, all faces", _missed("all")),
    ("missed, from 16 px", _missed("from_16_px")),
    ("probe AUC", _probe("detector")),
    ("seam", _seam),
    ("images/s", _pace("images")),
    ("faces/s", _pace("faces")),
)
_RECOGNISED: Columns = (
    ("recognised by the face: naive", _attack("face_alone", "naive")),
    ("reverse", _attack("face_alone", "reverse")),
    ("linked", _attack("face_alone", "linked")),
    ("parrot", _attack("face_alone", "parrot")),
    ("inversion", _attack("face_alone", "invert")),
    ("strongest", _attack("face_alone")),
    ("verdict", _verdict),
    ("recognised by the whole image: strongest", _attack("whole_image")),
    ("the same, face erased", _attack("surroundings")),
)


def _share(value: float | None, interval: Sequence[float] | None) -> str | None:
    if value is None:
        return None
    return f"{value:.1%}" if interval is None else f"{value:.1%} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def _rate(value: float, low: float, high: float) -> str:
    digits = 0 if value >= 100 else 1
    return f"{value:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def _notes(results: Sequence[Result]) -> list[str]:
    first = results[0]["measures"]
    plan, machine = first["plan"], first["machine"]
    inputs = "; ".join(
        f"{name}: {own['measured']:,} of {own['listed']:,} measured"
        + (f", {sum(own['failures'].values())} could not be read" if own["failures"] else "")
        for name, own in plan["inputs"].items()
    )
    lines = [f"Inputs: {inputs}; seed {plan['seed']}."]
    lines += _precision_notes(first["originals"], plan["scorer"])
    lines += _attack_notes(first)
    times = sorted(result["created_at"] for result in results)
    where = f"{machine['platform']}, {machine['cpu_count']} CPUs, {machine['device']}"
    lines.append(f"Measured {times[0]} to {times[-1]} by anon-batch {first['versions']['anon-batch']} on {where}.")
    lines.append(
        "Rates are of one core, by CPU time: images/s from file to file, faces/s of the method alone with fallbacks and checks. "
        "Brackets are 95 % intervals, and the slowest and fastest pass of rates."
    )
    return ["- " + line for line in lines]


def _precision_notes(originals: Mapping[str, Any], scorer: Mapping[str, Any]) -> list[str]:
    if originals["average_precision"] is None:
        return []
    everything, large = (originals["average_precision"]["labelled_faces"][band] for band in ("all", "from_16_px"))
    precision = f"average precision on the originals {everything['average_precision']:.3f}"
    faces = f"{everything['faces']:,} faces, {large['faces']:,} of them from 16 px"
    lines = [f"Second detector: {scorer['name']} at {scorer['scale']:g} times the size; {precision} over {faces}."]
    for difficulty, own in originals["wider"].items():
        if own["average_precision"] is not None:
            found = (
                f"{own['average_precision']:.3f} on the originals, {own['faces']:,} faces in {own['images']:,} images"
            )
            lines.append(f"WIDER FACE, {difficulty}: {found}.")
    return lines


def _attack_notes(measures: Mapping[str, Any]) -> list[str]:
    found, plan = measures["originals"]["reidentification"], measures["plan"]
    if found is None:
        return []
    alone = found["face_alone"]
    reached = [
        f"{own['embedder']} {own['rank_1']['value']:.1%}"
        for own in alone["attackers"]
        if own["rank_1"]["value"] is not None
    ]
    attacks = "; ".join(f"{name}, {NAMES[name]}" for name in plan["attacks"]["attacks"])
    made = plan["attacks"]
    persons = f"{alone['persons']} persons, each face in the same surroundings"
    effort = (
        f"{made['copies']} copies of a known image for the parrot, {made['steps']} steps of training for an inversion"
    )
    return [
        f"Recognised by the face: {persons}; on originals {', '.join(reached)}, by chance {alone['chance']:.1%}.",
        "Whole images show hair, clothes and background, which no method for faces hides.",
        f"Attacks: {attacks}; {effort}. The verdict is about the strongest, corrected for choosing it.",
    ]


def _published(sections: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [row.method, f"{row.kept:.1%}", f"`{row.closest}`", *(_ours(s, row.closest) for s in sections)]
        for row in published.ROWS
    ]
    titles = ["published", "AP kept", "closest here", *(f"ours, {s['name']}" for s in sections)]
    lines = [
        "## Beside published figures",
        "",
        *_table(titles, rows),
        "",
        f"Source: {published.SOURCE}. The protocols differ:",
        "",
    ]
    return "\n".join(
        [*lines, *(f"- {text};" for text in published.DIFFERENCES[:-1]), f"- {published.DIFFERENCES[-1]}."]
    )


def _ours(section: Mapping[str, Any], method: str) -> str:
    for result in section["results"]:
        if result["method"] == method:
            return _wider_mean(result) or _kept("all")(result) or _DASH
    return _DASH
