"""Measures of methods: what is left of a person, and what is left of a picture's use, when a method has treated it.

One module a measure, each with pure functions over numbers; `evaluation` runs them all over streamed pictures and makes
the document that `anon-batch evaluate` writes.
"""
