"""What a name says about an entry: an image, an archive or table, or the reason why it is skipped."""

from __future__ import annotations

import posixpath
import re

from anon_batch.formats.layout import IMAGE_SUFFIXES
from anon_batch.manifest.names import has_image_suffix, is_safe
from anon_batch.storage import PARTIAL_PREFIX

IMAGE = "image"
CONTAINER = "container"
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
CONTAINER_SUFFIXES = (".tar", ".parquet", *TABLE_SUFFIXES)
SKIPPED_SUFFIX = ".skipped.jsonl"  # of the list beside a manifest
PACKED_SUFFIXES = (
    ".tgz",
    ".tbz2",
    ".txz",
    ".zip",
    ".7z",
    ".rar",
    *(f".tar.{s}" for s in ("gz", "bz2", "xz", "zst", "lz4")),
)
VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".bzr", ".dvc"})
_SYSTEM_FOLDERS = frozenset(
    {"__macosx", "@eadir", ".appledouble", "$recycle.bin", ".trashes", ".spotlight-v100", ".ipynb_checkpoints"}
)
_SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", ".ds_store", "desktop.ini", ".picasa.ini", "icon\r"})
_UNFINISHED = (".part", ".partial", ".crdownload", ".filepart", ".download", ".aria2")
_POINTERS = (".dvc", ".icloud", ".lnk", ".webloc", ".gdoc", ".cloudf")
_UNSUPPORTED = (
    *(".heic", ".heif", ".hif", ".svg", ".svgz", ".jxl", ".jp2", ".j2k", ".jpx", ".psd", ".psb", ".xcf", ".ico", ".tga"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".exr", ".hdr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
    *(".raw", ".srw", ".pef", ".x3f", ".apng", ".pcx", ".dds", ".wdp", ".jxr", ".bpg", ".flif", ".qoi", ".jfi", ".pjpeg"),
)  # fmt: skip
_ODD = re.compile(rf"({'|'.join(re.escape(s) for s in IMAGE_SUFFIXES)})[^a-z0-9].*$", re.IGNORECASE | re.DOTALL)


def classify(key: str) -> str:
    """Return IMAGE, CONTAINER, or the reason why an entry is skipped, by its path alone.

    Args:
        key: path below the source, of a file or of a member of an archive.
    """
    segments = key.split("/")
    base = segments[-1]
    lower = base.lower()
    if not base:
        return "folder_marker"
    if not VERSION_CONTROL.isdisjoint(segments[:-1]):
        return "version_control"
    if _is_system(segments, lower):
        return "system_file"
    if base.startswith(PARTIAL_PREFIX) or lower.endswith(_UNFINISHED):
        return "unfinished"
    if has_image_suffix(key):
        return _of_image(key)
    return _of_other(key, lower)


def _is_system(segments: list[str], lower: str) -> bool:
    folders = {segment.lower() for segment in segments[:-1]}
    return lower in _SYSTEM_FILES or lower.startswith("._") or not _SYSTEM_FOLDERS.isdisjoint(folders)


def _of_image(key: str) -> str:
    if is_safe(key):
        return IMAGE
    return "unsafe_name" if _is_utf8(key) else "not_utf8"


def _of_other(key: str, lower: str) -> str:
    if lower.endswith(SKIPPED_SUFFIX):
        return "manifest"
    if lower.endswith(CONTAINER_SUFFIXES):
        return CONTAINER if _is_utf8(key) else "not_utf8"
    if lower.endswith(PACKED_SUFFIXES):
        return "compressed"
    if lower.endswith(_POINTERS):
        return "pointer"
    if posixpath.splitext(lower)[1] in _UNSUPPORTED:
        return "unsupported_image"
    return "odd_suffix" if _ODD.search(lower) else "not_an_image"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
