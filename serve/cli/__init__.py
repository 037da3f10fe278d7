"""The ``polymodal`` command."""
