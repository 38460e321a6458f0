"""Jobs that measure the product: `python -m jobs.bench`, `python -m jobs.bench_scale`."""
