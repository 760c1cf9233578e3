"""What makes a CPU fast: C++ called from XLA, and the plain forms beside it."""
