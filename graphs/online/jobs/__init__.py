"""Long work: who does it, and how each kind is done."""
