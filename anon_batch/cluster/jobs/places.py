"""The addresses of a job as the nodes of a cluster see them."""

from __future__ import annotations

from anon_batch.config import JobConfig
from anon_batch.config.link import PINNED_EMBEDDERS
from anon_batch.storage import absolute, is_local


def with_absolute_paths(config: JobConfig) -> JobConfig:
    """Return the job with absolute local paths, because a driver on another machine has another working folder."""
    keys = ("manifest", "output", "ledger", "run_key_file")
    given = {key: getattr(config, key) for key in keys}
    key_file = config.identity.key_file
    seals, links = (tuple(map(absolute, own.recipients)) for own in (config.seal, config.link))
    embedder = config.link.embedder
    return config.model_copy(
        update={
            **{key: value and absolute(value) for key, value in given.items()},
            "identity": config.identity.model_copy(update={"key_file": key_file and absolute(key_file)}),
            "seal": config.seal.model_copy(update={"recipients": seals}),
            "link": config.link.model_copy(
                update={
                    "recipients": links,
                    "embedder": embedder if embedder in PINNED_EMBEDDERS else absolute(embedder),
                }
            ),
        }
    )


def local_places(config: JobConfig) -> dict[str, str]:
    """Return the keys of a job whose address is a path of one machine, with the address."""
    places = {
        "manifest": config.manifest,
        "output": config.output,
        "ledger": config.ledger,
        "run_key_file": config.run_key_file,
        "identity.key_file": config.identity.key_file,
        **{f"seal.recipients[{at}]": address for at, address in enumerate(config.seal.recipients)},
        **{f"link.recipients[{at}]": address for at, address in enumerate(config.link.recipients)},
        "link.embedder": None if config.link.embedder in PINNED_EMBEDDERS else config.link.embedder,
        "models.mirror": config.models.mirror,
        **{f"models.files.{name}": address for name, address in config.models.files.items()},
        **{f"sources.allow[{at}]": address for at, address in enumerate(config.sources.allow or ())},
    }
    return {key: address for key, address in places.items() if address is not None and is_local(address)}
