"""Attacks on the identity of anonymized persons: what somebody who holds other images of them can find out."""
