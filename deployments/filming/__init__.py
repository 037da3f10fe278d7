"""Making clips: models that denoise all frames together, and what they leave for a next attempt."""
