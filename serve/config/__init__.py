"""What can be set: per machine in ``settings``, per application in ``app_args``."""
