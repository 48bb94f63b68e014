"""What training and reading data cost in time and memory."""
