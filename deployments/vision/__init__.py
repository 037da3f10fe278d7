"""What looks at a picture: one small model per module."""
