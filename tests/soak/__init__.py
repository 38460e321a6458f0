"""Runs that are disturbed at random moments, again and again: `PYTHONPATH=tests python -m soak --rounds 1000 --seed 1`."""
