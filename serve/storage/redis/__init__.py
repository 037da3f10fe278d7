"""Redis or Valkey behind the log, cache and limit ports."""
