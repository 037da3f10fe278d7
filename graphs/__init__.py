"""Who talks to whom; the only folder that knows everything."""
