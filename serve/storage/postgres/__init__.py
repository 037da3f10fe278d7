"""PostgreSQL behind the database ports; SQL lives in ``queries`` and ``migrations``."""
