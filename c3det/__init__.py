"""C3Det: clicks on a few objects in, boxes of all objects of all classes out."""
