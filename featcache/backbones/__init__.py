"""The frozen networks: which there are, their weights, and the runtimes that compute with them."""
