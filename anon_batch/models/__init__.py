"""Weights: which there are, where they come from, and what runs them."""
