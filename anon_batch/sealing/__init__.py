"""Seal what an image showed before it was anonymized, so that holders of a private key, and nobody else, can restore it.

A worker encrypts to public keys alone: it can seal and never open. Each region has a data key of its own (DEK), wrapped by the
key of its shard's attempt (KEK), which is encrypted to each recipient.
"""
