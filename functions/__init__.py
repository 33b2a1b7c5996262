"""The triggers: one module each, a door and not a room."""
