"""A trained model's opinion beside the labels."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models

torch = pytest.importorskip("torch", reason="training needs torch")

from edgepose.errors import ModelError  # noqa: E402
from edgepose.training.augmentation import MEAN, SCALE  # noqa: E402
from edgepose.training.teacher import WEIGHT, Teacher, blended  # noqa: E402


@pytest.mark.parametrize("count", [1, 3])
def test_the_maps_are_those_of_the_model_on_the_same_pixels(tmp_path, count):
    path = tiny_models.save(tmp_path)
    teacher = Teacher(path)
    pixels = np.random.default_rng(0).integers(0, 256, (count, 48, 64, 3), np.uint8)
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - MEAN) / SCALE
    maps = teacher.maps(images)
    assert maps.shape == (count, 57, 6, 8)
    heatmaps, pafs = teacher._engine.infer(pixels)
    np.testing.assert_array_equal(maps[:, :19], heatmaps)
    np.testing.assert_array_equal(maps[:, 19:], pafs)
    assert maps.std() > 0
    # Colours beyond what a picture can hold are those at its ends.
    assert torch.equal(teacher.maps(images + 9), teacher.maps(torch.full_like(images, 9)))


@pytest.mark.parametrize("channels", [(18, 38), (17,), (19, 38, 1)], ids=str)
def test_a_model_with_other_maps_cannot_teach(tmp_path, channels):
    with pytest.raises(ModelError, match=r"tiny answers \[.*\] channels at stride 8, and cannot teach.*expected 19 heatmaps"):
        Teacher(tiny_models.save(tmp_path, channels))


@pytest.mark.parametrize("channels", [(38, 19), (57,)], ids=str)
def test_outputs_are_told_apart_by_their_channels(tmp_path, channels):
    teacher = Teacher(tiny_models.save(tmp_path, channels))
    images = 0.9 * (torch.rand(1, 3, 16, 16) - 0.5)
    outputs = teacher._engine.infer(((images * SCALE + MEAN).round().byte()).permute(0, 2, 3, 1).numpy())
    expected = outputs[0] if len(outputs) == 1 else np.concatenate(outputs[::-1], axis=1)
    np.testing.assert_array_equal(teacher.maps(images), expected)


def test_blended_targets_have_the_gradient_of_both_errors():
    torch.manual_seed(0)
    maps, targets, opinion = (torch.randn(2, 57, 3, 4) for _ in range(3))
    weights = (torch.rand(2, 57, 3, 4) > 0.3).float()  # some of the labels are missing
    maps.requires_grad_()
    both = (weights * (maps - targets).square() + WEIGHT * (maps - opinion).square()).sum()
    mixed, total = blended(targets, weights, opinion)
    one = (total * (maps - mixed).square()).sum()
    torch.testing.assert_close(torch.autograd.grad(one, maps)[0], torch.autograd.grad(both, maps)[0])
    assert torch.equal(mixed[weights == 0], opinion[weights == 0])
