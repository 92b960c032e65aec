"""Numba kernels below the rooms that use them: assignment, OKS, resizing, capsules; and the decorator that compiles kernels."""
