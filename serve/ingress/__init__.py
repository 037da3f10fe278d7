"""HTTP and WebSocket. Knows ports, not adapters; imports no Ray, torch or vLLM."""
