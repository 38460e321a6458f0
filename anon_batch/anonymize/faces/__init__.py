"""Steps that face replacement methods share."""
