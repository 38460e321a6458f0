"""Read files of verdicts in any of the formats, and draw the sample that they are about again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from anon_batch.errors import ConfigError, ObjectNotFoundError
from anon_batch.formats.release import Release
from anon_batch.release.review import coco, label_studio, verdict_file
from anon_batch.release.review.draw import ReviewSettings, Sample, draw_sample
from anon_batch.release.review.interchange import SampleNote
from anon_batch.release.review.judgements import ReviewerFile, parse_json
from anon_batch.storage import absolute


class _Format(NamedTuple):
    matches: Callable[[Any], bool]
    settings: Callable[[Any, str], ReviewSettings | None]
    read: Callable[[Any, str, Sample], ReviewerFile]


def read_files(
    release: Release,
    uris: Sequence[str],
    settings: ReviewSettings,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> tuple[Sample, list[ReviewerFile]]:
    """Return the sample that files are about, and their verdicts.

    Args:
        release: that was reviewed.
        uris: addresses of the files.
        settings: of the sample, for files that do not say it.
        progress: as for `draw_sample`.

    Raises:
        ConfigError: a file is missing, damaged, or about another sample than this release's or the other files'.
        IntegrityError: the release is damaged.
    """
    contents = [(uri, parse_json(_read(release, uri), uri)) for uri in uris]
    formats = [(uri, content, _format_of(content, uri)) for uri, content in contents]
    stated = [(uri, own) for uri, content, kind in formats if (own := kind.settings(content, uri)) is not None]
    for uri, own in stated[1:]:
        if own != stated[0][1]:
            raise ConfigError(f"{uri}: of another review than {stated[0][0]} (other claim, seed or allowances)")
    sample = draw_sample(release, stated[0][1] if stated else settings, progress)
    return sample, [kind.read(content, uri, sample) for uri, content, kind in formats]


def _read(release: Release, uri: str) -> bytes:
    try:
        return release.storage.read(absolute(uri))
    except ObjectNotFoundError:
        raise ConfigError(f"{uri}: no such file") from None


def _format_of(content: Any, uri: str) -> _Format:
    for kind in _FORMATS:
        if kind.matches(content):
            return kind
    raise ConfigError(
        f"{uri}: neither a verdict file of a review page, nor a COCO file (`images`, `annotations`), nor Label Studio's JSON"
    )


def _noted(note_of: Callable[[Any, str], SampleNote | None]) -> Callable[[Any, str], ReviewSettings | None]:
    def settings(content: Any, uri: str) -> ReviewSettings | None:
        note = note_of(content, uri)
        return None if note is None else note.settings

    return settings


_FORMATS = (
    _Format(verdict_file.is_verdict_file, verdict_file.settings_of, verdict_file.read_verdict_file),
    _Format(coco.is_coco, _noted(coco.note_of), coco.read_coco),
    _Format(label_studio.is_label_studio, _noted(label_studio.note_of), label_studio.read_label_studio),
)
