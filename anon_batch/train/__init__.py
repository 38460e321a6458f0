"""Train the generator of the method `gan`."""
