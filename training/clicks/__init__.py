"""The clicks of annotators: drawn, and in sequences that can be written and replayed."""
