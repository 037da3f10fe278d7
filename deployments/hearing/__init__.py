"""What listens to a recording: one small model per module."""
