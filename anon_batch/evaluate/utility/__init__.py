"""Whether anonymized images are still worth training on: what a detector, a classifier and an eye still find in them.

Measures are computed from a `UtilityState`, which merges: the numbers do not depend on how the images were split among workers.
"""
