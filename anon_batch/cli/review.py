"""`anon-batch review`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from anon_batch.cli.console import err, out, print_json
from anon_batch.cli.gates import gates_for_machines, show_gates
from anon_batch.cli.options import Json, Output, StorageJob, storage_of
from anon_batch.cli.progress import ProgressBar
from anon_batch.cli.signed import warn_if_signed
from anon_batch.errors import ConfigError
from anon_batch.units import format_bytes, format_counted, format_share

if TYPE_CHECKING:
    from anon_batch.formats.evidence_json import Evidence
    from anon_batch.formats.release import Release
    from anon_batch.release.review.combine import Combined
    from anon_batch.release.review.draw import ReviewSettings, Sample
    from anon_batch.storage import Storage


class ExportFormat(StrEnum):
    """A format of other programs."""

    coco = "coco"
    label_studio = "label-studio"


def review(
    output: Output,
    claim: Annotated[
        float,
        typer.Option(help="What the review is to prove: at most this share of the outputs shows something missed."),
    ] = 0.01,
    seed: Annotated[int, typer.Option(help="Seed of the sample and of the planted faces.", min=0)] = 0,
    allow_missed: Annotated[
        int, typer.Option(help="Outputs with something missed that may be found; enlarges the sample.", min=0)
    ] = 0,
    allow_uncaught: Annotated[
        int, typer.Option(help="Planted faces that the reviewer may miss; enlarges the sample.", min=0)
    ] = 2,
    page: Annotated[str, typer.Option("-o", "--output", help="The page to write, not below OUTPUT.")] = "review.html",
    max_side: Annotated[
        int, typer.Option(help="Longer side of the page's images, px; larger ones are scaled down.", min=200)
    ] = 1600,
    imports: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            metavar="FILE",
            help="Compute figures from verdict files of the page, COCO or Label Studio files; repeatable, files of one review.",
            show_default=False,
        ),
    ] = None,
    ledger: Annotated[
        str | None, typer.Option(help="With --import: ledger that gets the private verdicts; default OUTPUT-ledger.")
    ] = None,
    verdicts_to: Annotated[
        str | None, typer.Option(help="With --import: file for the private verdicts, where no ledger is at hand.")
    ] = None,
    export: Annotated[
        tuple[ExportFormat, str] | None,
        typer.Option(
            metavar="FORMAT FILE",
            help="Write the sample's regions as `coco` or `label-studio` JSON instead of a page.",
            show_default=False,
        ),
    ] = None,
    export_images: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Write the sample's outputs as files.", show_default=False)
    ] = None,
    image_prefix: Annotated[
        str | None,
        typer.Option(
            help="With --export label-studio: what stands before an output's path in its address.", show_default=False
        ),
    ] = None,
    job: StorageJob = None,
    json: Json = False,
) -> None:
    """Write a page for reviewing a sample of a release by eye; or import its verdicts, and say what they prove."""
    from anon_batch.formats.release import Release
    from anon_batch.release.review.draw import ReviewSettings, finished

    if imports and (export or export_images):
        raise ConfigError("--import and --export: use one of them")
    release, settings = Release(storage_of(job), output), ReviewSettings(claim, seed, allow_missed, allow_uncaught)
    finished(release)
    if imports:
        _import(release, storage_of(job), imports, settings, ledger, verdicts_to, json=json)
    elif export or export_images:
        _export(release, _draw(release, settings, json=json), export, export_images, image_prefix)
    else:
        _write_page(release, settings, page, max_side, json=json)


def _write_page(release: Release, settings: ReviewSettings, page: str, max_side: int, *, json: bool) -> None:
    from anon_batch.config import ModelsConfig
    from anon_batch.models.store import ModelStore
    from anon_batch.release.review.items import make_items
    from anon_batch.release.review.keep import outside_release
    from anon_batch.release.review.page import render_pages
    from anon_batch.release.review.plants import load_bank

    target = outside_release(release, page, "the page, which shows planted faces,")
    bank = load_bank(ModelStore(release.storage, ModelsConfig()))
    sample = _draw(release, settings, json=json)
    with ProgressBar("images", quiet=json) as bar:
        bar.start(len(sample.outputs) + sample.plan.planted, 0)
        items = make_items(release, sample, bank, max_side, lambda done, _: bar.update(done))
    planted, scaled = len(items) - len(sample.outputs), sum(item.shown[0] < item.output.width for item in items)
    names = []
    pages = list(render_pages(sample, items))
    for number, content in enumerate(pages, 1):
        names.append(target if len(pages) == 1 else _numbered(target, number))
        release.storage.put(names[-1], content)
    if json:
        facts = {"outputs": sample.outputs_count, "sampled": len(sample.outputs), "planted": planted, "scaled": scaled}
        print_json({"pages": names, **facts, "sample_sha256": sample.sha256, **settings.to_json()})
        return
    out.print(
        f"{len(sample.outputs):,} of {sample.outputs_count:,} outputs and {planted:,} with a planted face, to prove that at most "
        f"{100 * settings.claim:g} % show something that was missed",
        markup=False,
    )
    if planted < sample.plan.planted:
        err.print(
            f"only {planted} of {sample.plan.planted} faces could be planted, because the outputs have no free place for more: "
            "the claim cannot be proven; try a larger --claim",
            markup=False,
        )
    elif planted > len(sample.outputs):
        err.print("a small release needs many planted faces; a larger --claim needs fewer", markup=False)
    if scaled:
        err.print(
            f"{format_counted(scaled, 'image')} scaled down to {max_side} px; --max-side shows more", markup=False
        )
    for name, content in zip(names, pages, strict=True):
        out.print(f"page    {name} ({format_bytes(len(content))})", markup=False)
    out.print(
        f"next    open it in a browser, then: anon-batch review {release.uri} --import VERDICTS.json", markup=False
    )


def _import(
    release: Release,
    private: Storage,
    uris: list[str],
    settings: ReviewSettings,
    ledger: str | None,
    verdicts_to: str | None,
    *,
    json: bool,
) -> None:
    from anon_batch.formats import layout
    from anon_batch.release.review.combine import combine
    from anon_batch.release.review.figures import private_verdicts, review_evidence
    from anon_batch.release.review.importing import read_files
    from anon_batch.release.review.keep import keep_review, verdicts_address

    stats = release.read_stats()
    with ProgressBar("rows", quiet=json) as bar:
        bar.start(release.read_run_json().rows, 0)
        sample, files = read_files(release, uris, settings, lambda done, _: bar.update(done))
    for note in (note for own in files for note in own.notes):
        err.print(note, markup=False)
    combined = combine(files)
    if not combined.verdicts:
        raise ConfigError(f"{', '.join(uris)}: no verdict on any sampled output, so there is nothing to compute")
    evidence, verdicts = review_evidence(sample, combined, stats.sha256), private_verdicts(sample, combined)
    address = verdicts_address(release, private, ledger, verdicts_to, verdicts.review_id)
    gates = keep_review(release, private, address, verdicts, evidence)
    warn_if_signed(release, layout.REVIEW)
    if json:
        figures = {name: own.to_json() for name, own in evidence.figures.items()}
        print_json({"verdicts": address, "figures": figures, **gates_for_machines(gates)})
        return
    _show(sample, combined, evidence)
    out.print(f"private verdicts  {address}", markup=False)
    out.print(f"public figures    {release.address(layout.REVIEW)}", markup=False)
    show_gates(gates)


def _show(sample: Sample, combined: Combined, evidence: Evidence) -> None:
    figures, marks = evidence.figures, [own.mark for own in combined.verdicts.values()]
    counts = ", ".join(
        f"{marks.count(name):,} {name.replace('_', ' ')}" for name in ("missed", "ugly", "wrong_region", "fine")
    )
    reviewers = format_counted(len(combined.reviewers), "reviewer")
    out.print(
        f"{len(marks):,} of {len(sample.outputs):,} sampled outputs judged by {reviewers}: {counts}", markup=False
    )
    missed, caught, kappa = figures["review.missed"], figures["review.catch_rate"], figures["review.kappa"]
    if caught.value is None:
        out.print(f"attention not measured: {caught.note}", markup=False)
    else:
        interval = f"{format_share(caught.low)} to {format_share(caught.high)}"
        out.print(
            f"planted faces found: {combined.caught} of {combined.planted} (95 % interval {interval})", markup=False
        )
    if kappa.value is not None:
        out.print(f"agreement on {kappa.n:,} outputs: Cohen's kappa {kappa.value:.2f}", markup=False)
    elif len(combined.reviewers) > 1:
        out.print(f"agreement: {kappa.note}", markup=False)
    bound = f"at most {100 * (missed.high or 0):.2f} % of {sample.outputs_count:,} outputs"
    out.print(f"with 95 % confidence {bound} show something that was missed", markup=False)
    out.print(figures["review.claim"].note, markup=False)


def _export(
    release: Release,
    sample: Sample,
    export: tuple[ExportFormat, str] | None,
    images: str | None,
    prefix: str | None,
) -> None:
    from anon_batch.release.review.exporting import write_export, write_images

    if images is not None:
        write_images(release, sample, images)
        out.print(f"images  {images} ({format_counted(len(sample.outputs), 'output')})", markup=False)
    if export is not None:
        kind, uri = export
        write_export(release, sample, kind.value, uri, prefix)
        regions = sum(len(own.regions) for own in sample.outputs)
        out.print(
            f"export  {uri} ({format_counted(len(sample.outputs), 'output')}, {format_counted(regions, 'region')})",
            markup=False,
        )


def _draw(release: Release, settings: ReviewSettings, *, json: bool) -> Sample:
    from anon_batch.release.review.draw import draw_sample

    with ProgressBar("rows", quiet=json) as bar:
        bar.start(release.read_run_json().rows, 0)
        return draw_sample(release, settings, lambda done, _: bar.update(done))


def _numbered(uri: str, number: int) -> str:
    base, dot, suffix = uri.rpartition(".")
    return f"{base}-{number}.{suffix}" if dot and "/" not in suffix else f"{uri}-{number}"
