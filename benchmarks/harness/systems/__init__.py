"""The systems of the paper at a small size: their networks, and how each is trained."""
