"""Which pass-through columns may be published: the one filter between a manifest and all public files.

`decide` looks at the names and at a sample of the values; `ColumnFilter.apply` then filters every table, value by value.
"""

from anon_batch.manifest.publish.column_filter import ColumnFilter
from anon_batch.manifest.publish.decide import decide
from anon_batch.manifest.publish.describe import describe_columns
from anon_batch.manifest.publish.slices import SliceColumns

__all__ = ["ColumnFilter", "SliceColumns", "decide", "describe_columns"]
