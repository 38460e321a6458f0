"""Find out once which faces of a job show one person: a pass over all images, then an assignment that a run only reads."""
