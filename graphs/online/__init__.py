"""Requests through the graph, top to bottom."""
