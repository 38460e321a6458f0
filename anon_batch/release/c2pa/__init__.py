"""Content Credentials (C2PA 2.1): signed statements inside images with generated content, the same bytes for the same key."""
