"""The least there is to write: `python demos/minimal.py photo.jpg` prints who is in a photo, and draws them into poses.jpg."""

import sys
from pathlib import Path

import edgepose

sys.tracebacklimit = 0  # What goes wrong is said in a line: a photo that is not there, say.
assert not Path("poses.jpg").exists() or not Path("poses.jpg").samefile(sys.argv[1]), "poses.jpg would be drawn over"
image = edgepose.read_image(sys.argv[1])  # (H, W, 3) uint8 BGR
poses = edgepose.PoseEstimator()(image)
print(*(f"{person.confidence[0]:.2f} confident, box {person.boxes[0].round().tolist()}" for person in poses), sep="\n")
edgepose.write_image("poses.jpg", edgepose.draw_poses(image, poses))
