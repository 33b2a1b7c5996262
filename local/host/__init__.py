"""A Functions host around Microsoft's own runtime, with the real host's trigger semantics."""
