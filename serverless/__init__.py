"""The function that CVAT calls through Nuclio; ``serverless.main`` holds the way of a request."""
