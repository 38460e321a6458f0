"""Say which faces show one person, from features of faces: pure functions on arrays, without images, files and keys.

To split a person is the safe error, to merge two is not: it would say of two people that they are one. So every doubt splits.
"""
