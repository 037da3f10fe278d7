"""The parts of the text generator."""
