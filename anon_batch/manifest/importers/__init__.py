"""Importers, one module for each kind of source: folders, tar files, WebDataset shards, Parquet files, tables.

Each module turns a `Source` into tables with `image_id`, absolute `uri`, any other fixed column and
pass-through columns; files that are not images are counted in the `ImportReport`. `find_source` returns the kind of an address.
"""
