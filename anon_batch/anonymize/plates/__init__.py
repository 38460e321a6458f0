"""Drawn licence plates: characters, texts, designs, and what the surroundings say about light, blur and grain."""
