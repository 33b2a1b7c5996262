"""An Event Grid topic that delivers, and on request loses, repeats, delays and reorders."""
