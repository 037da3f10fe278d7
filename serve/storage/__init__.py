"""Adapters, each behind a port."""
