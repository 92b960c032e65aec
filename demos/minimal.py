"""The least there is to write: `python demos/minimal.py photo.jpg` prints who is in a photo, and draws them into poses.jpg."""

import sys
from pathlib import Path

import edgepose

photo = sys.argv[1] if len(sys.argv) == 2 else sys.exit("usage: python demos/minimal.py PHOTO")
if Path("poses.jpg").exists() and Path(photo).exists() and Path("poses.jpg").samefile(photo):
    sys.exit("poses.jpg would be drawn over; give the photo another name")
try:
    image = edgepose.read_image(photo)  # (H, W, 3) uint8 BGR
    poses = edgepose.PoseEstimator()(image)
    edgepose.write_image("poses.jpg", edgepose.draw_poses(image, poses))
except edgepose.EdgePoseError as error:
    sys.exit(str(error))
print(*(f"{person.confidence[0]:.2f} confident, box {person.boxes[0].round().tolist()}" for person in poses), sep="\n")
