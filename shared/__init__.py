"""What the functions call: the core, its adapters and the settings that join them."""
