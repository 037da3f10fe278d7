"""What speaks: one engine per module."""
