"""What a manifest can be built from, one module a kind: folders, tar files, WebDataset shards, Parquet files,
tables.

Each module turns a `Source` into tables with `image_id`, absolute `uri`, any other fixed column and
pass-through columns; what is no picture goes to the `Tally`. `find_source` tells which kind an address is.
"""
