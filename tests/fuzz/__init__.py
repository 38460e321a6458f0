"""Coverage-guided fuzzing: `python -m fuzz TARGET --seconds 60`, or `make fuzz` for all targets."""
