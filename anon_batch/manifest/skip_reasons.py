"""Why an entry of a source is not in the manifest, as data: counted, printed, and written beside the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class SkipReason:
    """Why an entry was skipped.

    Args:
        code: in snake_case.
        meaning: what the entry is.
        fix: what the owner can do.
        is_loss: whether an image may be missing in the manifest, so that `--strict` refuses.
    """

    code: str
    meaning: str
    fix: str
    is_loss: bool = True


_REASONS = (
    SkipReason("not_an_image", "no suffix of an image", "list such files in a table if they are images", is_loss=False),
    SkipReason("system_file", "of an operating system or tool (`._x.jpg`, `__MACOSX`, `Thumbs.db`)", "nothing", is_loss=False),
    SkipReason("version_control", "inside `.git`, `.dvc` or the like", "nothing", is_loss=False),
    SkipReason("folder_marker", "a key that ends with `/` and marks a folder", "nothing", is_loss=False),
    SkipReason("manifest", "a manifest, or a list of what one left out", "nothing", is_loss=False),
    SkipReason("listed_elsewhere", "a link to a folder that is listed under its own name", "nothing", is_loss=False),
    SkipReason("unused_field", "a text field without an image, over 1 MiB or not UTF-8", "nothing", is_loss=False),
    SkipReason("unsupported_image", "an image in a format that is not read (HEIC, SVG, raw, ...)", "convert it"),
    SkipReason("odd_suffix", "an image's suffix with something behind it (`.jpg~`, `.jpg?x=1`, `.jpg `)", "rename it"),
    SkipReason("unfinished", "an unfinished download or write", "finish it, or delete it"),
    SkipReason("pointer", "a pointer to content that is not here (git-annex, git-lfs, DVC, an alias)", "fetch the content"),
    SkipReason("dangling_link", "a link whose target is not there", "fetch the target (`git annex get`, `dvc pull`)"),
    SkipReason("link_loop", "a link that leads back to itself", "remove the link"),
    SkipReason("link", "a link inside a tar, without bytes of its own", "pack the tar again with --dereference"),
    SkipReason("special_file", "a pipe, socket or device", "remove it"),
    SkipReason("unreadable", "no permission to read or list it", "grant it"),
    SkipReason("unsafe_name", "a name that cannot name an output (`//`, `/` at the front, backslash, `::`, ...)", "rename it"),
    SkipReason("not_utf8", "a name that is not UTF-8", "rename it"),
    SkipReason("compressed", "members cannot be read one by one", "unpack it, or pack it as a plain .tar"),
    SkipReason("sparse", "a sparse member of a tar", "pack the tar again without --sparse"),
    SkipReason("damaged", "cannot be read to its end", "fetch it again"),
    SkipReason("missing", "named by the labels of WIDER FACE, but not there", "fetch it"),
    SkipReason("no_images", "a Parquet file or table without images or addresses", "nothing", is_loss=False),
    SkipReason("describes_others", "a table that describes the images beside it", "give it as a source to use it", is_loss=False),
    SkipReason("other_kind", "not of the `--kind` asked for", "leave out --kind"),
    SkipReason("no_address", "a row without an address or an id", "complete it"),
    SkipReason("duplicate_id", "another entry has the same id", "rename it"),
    SkipReason("same_output", "its output would have the name of another entry's", "rename it"),
)  # fmt: skip

SKIP_REASONS: Mapping[str, SkipReason] = MappingProxyType({reason.code: reason for reason in _REASONS})
