"""What a job will take, before it runs: a measured sample, the requests to storage, hours and money."""
