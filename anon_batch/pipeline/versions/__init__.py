"""Make a new version of a finished release: begin, rewrite parts, publish, finish. `patch` and `erase` share it."""
