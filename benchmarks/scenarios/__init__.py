"""One file per question; each runs on its own with ``python -m``."""
