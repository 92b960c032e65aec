"""Kernels in Numba that several rooms use: assignment, OKS and resizing, and the decorator that compiles kernels."""
