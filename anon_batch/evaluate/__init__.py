"""Compare methods: what remains of a person's identity, and of an image's use, after anonymization.

Each measure has a module of pure functions on numbers; `evaluation` runs them on streamed images and writes measures.json.
"""
