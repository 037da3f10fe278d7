"""From an untrusted upload to a safe, described medium."""
