"""From what archives hold to what replicas load; one module per converter."""
