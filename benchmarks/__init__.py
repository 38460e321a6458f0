"""Throughput and recall side by side: the package, the same work in a bare loop, and `deface`."""
