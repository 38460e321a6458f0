"""Training of the generator that the method `gan` paints with."""
