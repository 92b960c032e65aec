from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import edgepose


def test_public_names_are_sorted_and_all_there():
    assert edgepose.__all__ == sorted(edgepose.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    for name in edgepose.__all__:
        assert getattr(edgepose, name) is not None
    assert set(edgepose.__all__) <= set(dir(edgepose))


def test_public_names_are_the_objects_of_their_modules():
    from edgepose.media.sinks import open_sinks
    from edgepose.media.sources import CameraOptions, Frame, Source, open_source

    for value in (CameraOptions, Frame, Source, open_sinks, open_source):
        assert getattr(edgepose, value.__name__) is value


def test_the_version_stands_in_one_place():
    project = (Path(edgepose.__file__).parents[1] / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in project
    assert '[tool.hatch.version]\npath = "edgepose/__init__.py"' in project
    assert edgepose.__version__ not in project.partition("dependencies")[0]


def test_errors_all_derive_from_one():
    errors = [getattr(edgepose, name) for name in edgepose.__all__ if name.endswith("Error")]
    assert len(errors) >= 9
    assert all(issubclass(error, edgepose.EdgePoseError) for error in errors)


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'pose'"):
        _ = edgepose.pose


def test_a_star_import_brings_the_public_names():
    script = "from edgepose import *; assert PoseEstimator and decode_poses and draw_poses"
    subprocess.run([sys.executable, "-c", script], check=True)
