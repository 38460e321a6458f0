"""What `swap` and `gan` share: align, choose a donor, blend it into the surroundings, and run the generator."""
