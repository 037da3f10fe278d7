"""Making pictures: models that denoise, one step for many pictures at once."""
