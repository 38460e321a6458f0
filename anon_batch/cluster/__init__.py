"""The driver, its workers and their Ray cluster: the only folder that imports ray."""
