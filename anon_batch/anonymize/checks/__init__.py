"""Checks of treated regions and images."""
