"""What a model answers to clicks, and how good that is."""
