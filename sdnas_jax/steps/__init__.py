"""What is compiled: the steps of a search, of training, of curvature."""
