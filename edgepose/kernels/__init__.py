"""What several rooms compute in Numba: assignment, OKS, resizing, and how kernels are compiled."""
