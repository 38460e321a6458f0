"""Methods that make regions unrecognisable, and the ladder that tries them in turn.

`protocol` says what a method is, `policy` which methods each label gets, `ladder` runs them, `compose` writes what they render,
`checks` looks at the result. No module here imports a heavy library before a method that needs it is loaded.
"""
