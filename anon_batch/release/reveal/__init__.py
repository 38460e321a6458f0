"""Open what a run sealed: reveal originals, hand out tickets for single regions, change the recipients."""
