"""Tools that the server runs when the model calls them."""
