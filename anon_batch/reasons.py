"""Reason codes of rows without an output, as data: they are published in the provenance, and documented from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a row has no output.

    Args:
        code: published, in snake_case.
        status: status of the row.
        meaning: what happened.
        fix: what the owner of the dataset can do.
    """

    code: str
    status: Literal["failed", "withheld"]
    meaning: str
    fix: str


_FAILED = (
    ("source_not_found", "no object at the address", "restore the object or correct the manifest"),
    (
        "source_refused",
        "the address, or one that it leads to, is not covered by `sources.allow`; nothing was read",
        "see the detail in the audit; add the folder or prefix to `sources.allow` if you trust it, or correct the manifest",
    ),
    ("source_denied", "the workers have no permission to read it", "grant the workers' role read access"),
    (
        "source_unreadable",
        "storage refused it, or failed for this object on every try, or a Parquet cell cannot be read",
        "see the detail in the audit",
    ),
    (
        "source_truncated",
        "the tar or file ends before the member does, or every answer ends before its announced length",
        "fetch the file again and rebuild the manifest",
    ),
    ("source_empty", "the Parquet cell holds no bytes", "restore the source"),
    (
        "source_changed",
        "size or sha256 differ from the manifest",
        "find out what changed it, or set `sources.columns.sha256` (or `size_bytes`) to null if it describes other files",
    ),
    ("too_many_bytes", "larger than `limits.max_bytes`", "raise the limit if you trust the source"),
    (
        "too_many_pixels",
        "larger than `limits.max_pixels`",
        "raise the limit, and `engine.memory_bytes` with it",
    ),
    ("empty", "the file has 0 bytes", "restore the source"),
    (
        "unsupported_format",
        "not JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF (but HEIC, SVG, raw, text, ...)",
        "convert it",
    ),
    ("unsupported_mode", "an unsupported variant of its format: 12-bit JPEG, unusual TIFF", "convert it"),
    ("multi_frame", "an animation or a multi-page file", "split it into single images"),
    ("truncated", "the file ends early; partly decoded images are never published", "fetch the file again"),
    ("decode", "the file is damaged", "replace or drop it"),
    (
        "poison",
        "every attempt at this row killed its worker process or could not be committed",
        "see the audit; a crashing decoder or too little memory are likely",
    ),
)
_WITHHELD = (
    ("detect", "a detector failed on the image or returned values that are not finite", "see the audit; report it"),
    (
        "no_boxes",
        "the detector `manifest` found no boxes because the row's ground truth is null",
        "label the row (an empty list for no region), or add a detector and the option `unlabelled: search` of `manifest`",
    ),
    (
        "bad_box",
        "a box of the manifest cannot be right: outside the image, tiny, in another scale, or for an image of another size",
        "see the audit; correct the row's boxes in the manifest, and run it with another output",
    ),
    (
        "anonymize",
        "no method anonymized one of the regions",
        "see the audit; end the fallbacks with `solid`",
    ),
    (
        "check",
        "an image check failed, or found more to anonymize in every round",
        "see the audit; change or remove the check in `checks`",
    ),
    (
        "encode",
        "the output could not be encoded, e.g. an image too large for WebP",
        "choose another `write.format`",
    ),
    (
        "out_of_memory",
        "the worker had too little memory for the image, even alone",
        "give a worker more memory, or lower `limits.max_pixels`; then run these rows as a release of their own",
    ),
    (
        "seal",
        "what the image showed could not be sealed, and the job asks that it can be restored",
        "see the audit; report it",
    ),
    (
        "link",
        "the faces of the image could not be put into the index that photographs are searched in, and the job asks for it",
        "see the audit; report it",
    ),
    ("metadata", "the encoded output holds metadata that is not on the allow-list", "see the audit; report it"),
    (
        "write",
        "storage refused this name, size or folder",
        "see the audit; grant the right to write there, shorten the id, or use another layout",
    ),
    ("incomplete", "a stage returned no result", "a bug in anon-batch: report it"),
    (
        "erased",
        "the row was erased in a later version (`anon-batch erase`); only its place in the release is left",
        "nothing; delete your copies of it with `anon-batch apply-tombstones`",
    ),
)

REASONS: Mapping[str, Reason] = MappingProxyType(
    {
        **{code: Reason(code, "failed", meaning, fix) for code, meaning, fix in _FAILED},
        **{code: Reason(code, "withheld", meaning, fix) for code, meaning, fix in _WITHHELD},
    }
)
