"""What is said to an OpenAI-compatible API, and what its answers mean."""
