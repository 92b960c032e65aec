"""Speed of the PAF decoder against a plain NumPy and Python one, on synthetic scenes: medians of one run, taken in turn.

python benchmarks/decoding.py [--runs 60] [--json PATH]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import against_plain
from synthetic.plain_decoder import decode
from synthetic.scenes import make_scene

from edgepose import decode_poses

PEOPLE = (1, 5, 10, 20, 40)
SIZES = ((32, 57), (46, 82))  # cells: inputs of 256 x 456 and 368 x 656

if __name__ == "__main__":
    against_plain.run(__doc__, decode_poses, decode, make_scene, SIZES, PEOPLE)
