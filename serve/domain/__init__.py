"""The words of the project: frozen types and ports. Imports the standard library and numpy only."""
