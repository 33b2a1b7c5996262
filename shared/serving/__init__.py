"""The scoring path: OpenAI's shapes, the proxy, and when an endpoint is idle."""
