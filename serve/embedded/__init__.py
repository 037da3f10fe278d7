"""The stores as supervised child processes, for a machine that has nothing installed."""
