"""croissant.json: what is in a release, for programs, in MLCommons' Croissant 1.1 with its RAI 1.0 properties."""
