"""Strip the metadata of image files, and inspect what is left."""
