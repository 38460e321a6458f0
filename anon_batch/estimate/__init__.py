"""Estimates what a job takes: a measured sample, scaled to all rows, in requests, hours and cost."""
