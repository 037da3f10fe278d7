"""A load tester that speaks the OpenAI protocol to any server."""
