"""The studio's routes, each a thin layer over the other modules."""
