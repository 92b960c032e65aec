"""Pictures and videos in, pictures, videos and keypoint files out."""
