"""The core: what a run is, and how it moves. No cloud, no HTTP, no environment."""
