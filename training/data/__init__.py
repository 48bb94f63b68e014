"""Pictures with boxes: where they come from, how they are read, made, split and cut."""
