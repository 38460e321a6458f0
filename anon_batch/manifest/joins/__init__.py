"""Columns, ids and classes that other tables give to the rows of a manifest.

`lines` stages a joined table on the local disk, `partners` finds which of its lines belongs to which row, `join` adds the
columns, and `shape` does all that a user asked for. Memory does not grow with the width of the tables, only by some bytes for
each row and line.
"""

from anon_batch.manifest.joins.box_column import BoxColumn
from anon_batch.manifest.joins.join import Join, JoinReport, describe_join
from anon_batch.manifest.joins.new_ids import IdTemplate
from anon_batch.manifest.joins.shape import Shaping, shape_rows

__all__ = ["BoxColumn", "IdTemplate", "Join", "JoinReport", "Shaping", "describe_join", "shape_rows"]
