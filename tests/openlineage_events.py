"""Reads OpenLineage events and checks them with the official client's own types."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

from openlineage.client import event_v2, facet_v2

FACETS = {
    "parent": facet_v2.parent_run.ParentRunFacet,
    "processing_engine": facet_v2.processing_engine_run.ProcessingEngineRunFacet,
    "errorMessage": facet_v2.error_message_run.ErrorMessageRunFacet,
    "test": facet_v2.test_run.TestRunFacet,
    "tags": facet_v2.tags_run.TagsRunFacet,
    "jobType": facet_v2.job_type_job.JobTypeJobFacet,
    "version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet,
    "schema": facet_v2.schema_dataset.SchemaDatasetFacet,
    "dataQualityMetrics": facet_v2.data_quality_metrics_dataset.DataQualityMetricsDatasetFacet,
    "inputStatistics": facet_v2.input_statistics_input_dataset.InputStatisticsInputDatasetFacet,
    "outputStatistics": facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
}
FILE = {"OPENLINEAGE__TRANSPORT__TYPE": "file", "OPENLINEAGE__TRANSPORT__APPEND": "true"}


def to_file(path: Path) -> dict[str, str]:
    """Return the variables that send events to a file."""
    return {**FILE, "OPENLINEAGE__TRANSPORT__LOG_FILE_PATH": str(path)}


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return the events of a file, checked."""
    events = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for event in events:
        check(event)
    return events


def check(event: dict[str, Any]) -> None:
    """Check an event: its own keys, and each facet by its official type, which refuses keys that it does not know."""
    assert set(event) == {"eventTime", "eventType", "producer", "schemaURL", "run", "job", "inputs", "outputs"}
    assert event["schemaURL"] == "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
    assert event["eventType"] in event_v2.RunState.__members__
    assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
    assert str(uuid.UUID(event["run"]["runId"])) == event["run"]["runId"]
    assert event["job"]["namespace"]
    assert event["job"]["name"]
    assert event["inputs"]
    assert event["outputs"]
    sets = [(one, own) for own, some in (("inputFacets", "inputs"), ("outputFacets", "outputs")) for one in event[some]]
    for dataset, own in sets:
        assert set(dataset) == {"namespace", "name", "facets", own}
    owners = [
        event["run"]["facets"],
        event["job"]["facets"],
        *(own[key] for own, kind in sets for key in ("facets", kind)),
    ]
    for name, facet in (item for owner in owners for item in owner.items()):
        fields = dict(facet)
        producer, schema = fields.pop("_producer"), fields.pop("_schemaURL")
        made = FACETS[name](**fields)
        assert schema == made._get_schema()
        assert name == "tags" or producer == "https://github.com/anon-batch/anon-batch"
