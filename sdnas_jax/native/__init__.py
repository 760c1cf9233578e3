"""What XLA does badly on a CPU, in C++."""
