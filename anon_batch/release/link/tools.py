"""What a search needs besides the index: the recogniser that made it, and a detector for the photograph."""

from __future__ import annotations

from anon_batch.config import ModelsConfig
from anon_batch.errors import ConfigError, StorageError
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.recognition.embedder import load_embedder
from anon_batch.records import FloatArray
from anon_batch.release.link.photo import Photo, feature_of
from anon_batch.release.reveal.sealed_release import SealedRelease


class LinkTools:
    """Computes features as the index has them.

    Args:
        place: the release, with its index.
        models: where weights come from.
        embedder: name or address of the recogniser; None takes the job's.

    Raises:
        ConfigError: it is another one than that of the index, or its file cannot be read.
        ModelError: it cannot be used.
    """

    def __init__(self, place: SealedRelease, models: ModelsConfig, embedder: str | None) -> None:
        about = place.seals.about
        self.runtime = Runtime(ModelStore(place.release.storage, models))
        self.min_face_px = int(about["min_face_px"])
        self.max_false_hits = float(about["max_false_hits"])
        address = embedder or str(about["embedder"])
        try:
            self.embedder = load_embedder(self.runtime.store, address, 1)
        except StorageError as exc:
            raise ConfigError(f"the recogniser of the index cannot be read; name it by --embedder ({exc})") from None
        facts = self.embedder.facts()
        if differing := [name for name, value in about["features"].items() if facts.get(name) != value]:
            raise ConfigError(
                f"{address}: not the recogniser that made the index, because its {', '.join(differing)} differ; name that one by "
                "--embedder"
            )

    def feature_of(self, photo: Photo) -> FloatArray:
        """Return the feature (D,) of the face in a photograph; raise as `photo.feature_of`."""
        return feature_of(photo, self.embedder, self.runtime, self.min_face_px)
