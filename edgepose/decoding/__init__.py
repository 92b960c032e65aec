"""Network outputs to keypoints, in Numba. Pure functions over arrays."""

from edgepose.decoding.paf import DecodedPoses, decode_poses, warm_up

__all__ = ["DecodedPoses", "decode_poses", "warm_up"]
