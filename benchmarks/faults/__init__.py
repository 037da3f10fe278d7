"""Kills and stops parts of a running service under load, and counts what its clients noticed."""
