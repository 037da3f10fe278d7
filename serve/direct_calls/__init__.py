"""Calls from an ingress straight to a generator replica; docs/adr/0016."""
