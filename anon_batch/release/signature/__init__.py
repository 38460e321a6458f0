"""Sign a release: an in-toto statement about its files in a DSSE envelope, with Ed25519."""
