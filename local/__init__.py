"""The laptop's stack: everything that Azure is to Droptune, on one machine. Never deployed."""
