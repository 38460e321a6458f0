"""The datasets of OpenLineage events: a manifest by the digest of its rows, and a release with its figures."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa

from anon_batch.formats.part import description
from anon_batch.formats.plan import Plan
from anon_batch.formats.provenance import PROVENANCE_SCHEMA
from anon_batch.formats.stats_json import StatsJson
from anon_batch.pipeline.lineage import NAMESPACE, Named

_PUBLISHED = ("anonymized", "clean")


def manifest_of(plan: Plan) -> Named:
    """Return the manifest of a run."""
    from openlineage.client.facet_v2 import input_statistics_input_dataset as statistics

    rows = statistics.InputStatisticsInputDatasetFacet(rowCount=plan.total)
    return Named(NAMESPACE, f"manifest/sha256:{plan.fingerprint['manifest rows']}", {}, {"inputStatistics": rows})


def release_at(uri: str, version: int, stats: StatsJson | None = None) -> Named:
    """Return a release, with its figures once it is finished.

    Args:
        uri: its address.
        version: of the release.
        stats: content of stats.json.
    """
    from openlineage.client import facet_v2

    facets: dict[str, Any] = {"version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet(str(version))}
    if stats is None:
        return dataclasses.replace(Named.at(uri), facets=facets)
    images = sum(stats.statuses.get(status, 0) for status in _PUBLISHED)
    size = int(stats.summary["bytes_out"])
    facets["schema"] = facet_v2.schema_dataset.SchemaDatasetFacet(list(map(_field, PROVENANCE_SCHEMA)))
    facets["dataQualityMetrics"] = _quality(stats, size)
    written = facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=images, size=size)
    return dataclasses.replace(Named.at(uri), facets=facets, own_facets={"outputStatistics": written})


def _quality(stats: StatsJson, size: int) -> Any:
    """Return rows by status and reason, each as a column of the provenance with its value."""
    from openlineage.client.facet_v2 import data_quality_metrics_dataset as quality

    counts = {f"status={status}": rows for status, rows in stats.statuses.items()}
    for reasons in stats.summary["reasons"].values():
        if isinstance(reasons, dict):
            counts.update({f"reason={reason}": rows for reason, rows in reasons.items()})
    columns = {name: quality.ColumnMetrics(count=rows, quantiles=None) for name, rows in counts.items()}
    return quality.DataQualityMetricsDatasetFacet(columns, rowCount=stats.rows, bytes=size)


def _field(column: pa.Field) -> Any:
    from openlineage.client.facet_v2 import schema_dataset

    return schema_dataset.SchemaDatasetFacetFields(
        name=column.name, type=str(column.type), description=description(column)
    )
