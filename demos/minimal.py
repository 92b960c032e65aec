"""The least there is to write: `python demos/minimal.py photo.jpg` prints who is in a photo, and draws them into poses.jpg."""

import sys

import cv2

import edgepose

image = cv2.imread(sys.argv[1])  # (H, W, 3) uint8 BGR
poses = edgepose.PoseEstimator()(image)
for person in poses:
    print(f"{person.confidence[0]:.2f} confident, box {person.boxes[0].round().tolist()}")
cv2.imwrite("poses.jpg", edgepose.draw_poses(image, poses))
