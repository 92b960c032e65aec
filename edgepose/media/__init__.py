"""Reads pictures, videos and cameras; writes pictures, videos and files of keypoints."""
