"""Wire shapes: what the JSON looks like."""
