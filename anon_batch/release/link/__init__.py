"""Find a person's images by a photograph, in the encrypted index of faces that a run kept. No original is opened."""
