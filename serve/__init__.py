"""The service without models and without wiring. Unrelated to ``ray.serve``, see docs/adr/0002."""
