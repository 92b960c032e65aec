"""Speed of the decoder of heatmaps and tags against a plain NumPy and SciPy one, on synthetic scenes: medians of one run.

    python benchmarks/tags.py [--runs 60] [--json PATH]

It needs SciPy, which the extra `test` installs.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import against_plain
from synthetic.plain_tags import decode
from synthetic.tagged_scenes import make_scene

from edgepose.decoding.tags import decode_tags

PEOPLE = (1, 5, 20)
SIZES = ((128, 160),)  # cells: an input of 256 x 320

if __name__ == "__main__":
    against_plain.run(__doc__, decode_tags, decode, make_scene, SIZES, PEOPLE)
