"""People in front of a camera, live: `python demos/webcam.py [SOURCE]`. A short program to copy from.

SOURCE is a camera number (default 0), /dev/video0, picamera, an rtsp:// or http:// URL, or a video. Press q or Esc to end.
"""

from __future__ import annotations

import sys
import time

import edgepose

TITLE = "edgepose"


def main(source: str = "0") -> int:
    fps = 0.0
    try:
        # In here, where edgepose says in a line what is missing: a library of the system, or a screen, without which OpenCV
        # would end the program without a word.
        edgepose.check_screen()
        import cv2

        # Height 256 instead of the model's 368: twice as fast, and people who sit at a desk are large enough.
        estimator = edgepose.PoseEstimator(input_size=256)
        shown = time.perf_counter()
        # Only the newest frame is ever taken from a camera, and the network runs on the next while this one is drawn.
        for frame in estimator.stream(source, track=True, smooth=True):
            picture = edgepose.draw_poses(frame.image, frame.poses, color_by="person")

            now = time.perf_counter()
            fps += 0.1 * (1 / (now - shown) - fps)  # A running mean, or nobody could read it.
            shown = now
            cv2.putText(picture, f"{fps:.0f} FPS", (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (240, 240, 240), 2)

            # What else there is to use: every person has an identity, and named keypoints in pixels, NaN where not found.
            for person in frame.poses:
                nose = person.keypoints[0, person.skeleton.keypoints.index("nose")]
                if person.scores[0, 0] > 0.5:
                    cv2.circle(picture, (int(nose[0]), int(nose[1])), 12, (0, 0, 255), 2)

            cv2.imshow(TITLE, picture)
            if cv2.waitKey(1) & 0xFF in (ord("q"), 27) or cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1:
                break
    except edgepose.EdgePoseError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
