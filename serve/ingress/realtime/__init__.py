"""Live conversations: one module per thing that happens beside the others."""
