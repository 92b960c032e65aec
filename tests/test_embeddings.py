"""The decoder of Open Model Zoo's heatmaps and embeddings against its plain twin; HigherHRNet's two outputs as published."""

from __future__ import annotations

from typing import Any

import family_models
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from synthetic import plain_decoders, plain_tags
from synthetic.tagged_scenes import make_scene

import edgepose
from edgepose.decoding.embeddings import EmbeddingDecoder
from edgepose.decoding.resolutions import merge_resolutions
from edgepose.decoding.tags import MIN_JOINED, TagDecoder, decode_tags

Float = NDArray[np.float32]


def suppressed(heatmaps: Float, *, negated: bool) -> Float:
    """The heatmaps with what is no maximum of 5 x 5 negated, or 0."""
    pooled = np.stack([maximum_filter(heatmap, 5, mode="nearest") for heatmap in heatmaps])
    return np.where(pooled == heatmaps, heatmaps, -heatmaps if negated else np.float32(0))


def decoder(outputs: int = 2) -> EmbeddingDecoder:
    return EmbeddingDecoder(family_models.model(family_models.EMBEDDINGS), (17,) * outputs, 0.05)


@pytest.mark.parametrize("people", [1, 3, 10, 30])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scenes_of_people_are_those_of_the_twin(people, seed):
    heatmaps, tags = make_scene(people, 96, 128, seed)
    peaks = suppressed(heatmaps, negated=True)
    decoded = decode_tags(heatmaps, tags, peaks=peaks, reweight=True, fill_threshold=0.05)
    poses, scores = plain_decoders.embeddings(heatmaps, peaks, tags, 0.1, 0.05)
    order = np.argsort(-scores, kind="stable")
    np.testing.assert_allclose(decoded.confidence, np.minimum(scores[order], 1), atol=1e-4)
    np.testing.assert_allclose(decoded.scores, np.minimum(poses[order][..., 2], 1), atol=1e-4)
    found = decoded.scores > 0
    np.testing.assert_allclose(decoded.keypoints[found] + 0.5, poses[order][found][:, :2], atol=1e-3)


def test_of_like_tags_the_nearest_is_a_persons_own():
    """Two people with almost the same tags, side by side: by tags alone it is chance whose wrist is whose."""
    heatmaps, tags = np.zeros((2, 17, 40, 80), np.float32)
    for person, x in enumerate((15, 60)):
        heatmaps[:, 20, x] = 0.9 - 0.1 * person
        # The wrists' tags lean the wrong way.
        tags[:, :, 40 * person : 40 * person + 40] = 0.45 * person
        tags[9:, :, 40 * person : 40 * person + 40] = 0.45 * (1 - person)
    tags[9:] += 0.05
    plain, reweighted = (decode_tags(heatmaps, tags, reweight=reweight, fill_threshold=1) for reweight in (False, True))
    assert len(reweighted.confidence) == len(plain.confidence) == 2
    assert all(len(np.unique(np.round(person[:, 0]))) == 1 for person in reweighted.keypoints)
    assert any(len(np.unique(np.round(person[:, 0]))) == 2 for person in plain.keypoints)


BUILDS: dict[str, Any] = {
    "negated": lambda heatmaps: [suppressed(heatmaps, negated=True)],
    "apart": lambda heatmaps: [heatmaps, suppressed(heatmaps, negated=False)],
    "apart and negated": lambda heatmaps: [suppressed(heatmaps, negated=True), heatmaps],
}


@pytest.mark.parametrize("build", BUILDS)
def test_builds_of_the_networks_give_the_same_people(build):
    heatmaps, tags = make_scene(4, 96, 128, 5)
    outputs = [*(maps[None] for maps in BUILDS[build](heatmaps)), tags[None, ..., None]]
    expected = decode_tags(heatmaps, tags, fill_threshold=0.05, min_keypoints=MIN_JOINED, reweight=True)
    for ordered in (outputs, outputs[::-1]):
        people = decoder(len(outputs))(ordered, (192, 256))
        np.testing.assert_allclose(people.keypoints, expected.keypoints * 2)
        np.testing.assert_array_equal(people.scores, expected.scores)
        assert len(people.confidence) >= 4


@given(st.integers(0, 2**32 - 1), st.integers(1, 2))
@settings(max_examples=40, deadline=None)
def test_any_numbers_at_all_give_sound_people(seed, count):
    random = np.random.default_rng(seed)
    outputs = [random.normal(0, 1, (1, 17, 8, 8)).astype(np.float32) for _ in range(count)]
    outputs.append(random.normal(0, 1, (1, 17, 8, 8, 1)).astype(np.float32))
    for output in outputs:
        odd = random.random(output.shape) < 0.1
        output[odd] = random.choice([np.nan, np.inf, -np.inf, 0, 1e38], odd.sum())
    with np.errstate(all="ignore"):
        people = decoder(count + 1)(outputs, (16, 16))
    found = people.scores > 0
    assert np.isfinite(people.keypoints[found]).all()
    assert np.isnan(people.keypoints[~found]).all()
    assert ((people.scores >= 0) & (people.scores <= 1)).all()


@pytest.mark.parametrize(
    "shapes",
    [[(1, 17, 8, 8), (1, 17, 8, 8)], [(1, 17, 8, 8), (1, 17, 8, 9, 1)], [(1, 17, 8, 8), (1, 17, 8, 8, 2)],
     [(1, 17, 9, 9), (1, 17, 9, 9, 1)], [(1, 17, 8, 8, 1), (1, 17, 8, 8, 1)]],
)  # fmt: skip
def test_outputs_of_other_shapes_are_refused(shapes):
    with pytest.raises(edgepose.ModelError, match=r"to 16 x 16 pixels; expected heatmaps \(1, 17, 8, 8\).*mend stride"):
        decoder()([np.zeros(shape, np.float32) for shape in shapes], (16, 16))


def test_networks_with_other_outputs_are_refused():
    with pytest.raises(edgepose.ModelError, match=r"have \[19, 38\] channels; expected 17 heatmaps"):
        EmbeddingDecoder(family_models.model(family_models.EMBEDDINGS), (19, 38), 0.05)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 3), (16, 24)])
def test_resolutions_are_merged_as_pytorch_has_it(shape):
    random = np.random.default_rng(0)
    coarse = random.normal(0, 1, (34, *shape)).astype(np.float32)
    fine = random.normal(0, 1, (17, 2 * shape[0], 2 * shape[1])).astype(np.float32)
    upsampled = torch.nn.functional.interpolate(
        torch.from_numpy(coarse)[None], scale_factor=2, mode="bilinear", align_corners=False
    )[0].numpy()
    expected = np.concatenate([(upsampled[:17] + fine) / 2, upsampled[17:]])
    np.testing.assert_allclose(merge_resolutions(coarse, fine), expected, atol=1e-6)
    np.testing.assert_allclose(plain_tags.merge(coarse, fine), expected, atol=1e-6)


def test_higher_hrnets_two_outputs_give_the_people_of_the_folded_one():
    heatmaps, tags = make_scene(5, 64, 96, 3)
    coarse = np.concatenate([heatmaps, tags])[:, ::2, ::2]
    folded = merge_resolutions(coarse, heatmaps)
    model = family_models.model(family_models.TAGS)
    expected = TagDecoder(model, (34,), 0.05)([folded[None]], (128, 192))
    for channels in ((34, 17), (17, 34)):
        outputs = [coarse[None], heatmaps[None]] if channels[0] == 34 else [heatmaps[None], coarse[None]]
        people = TagDecoder(model, channels, 0.05)(outputs, (128, 192))
        np.testing.assert_array_equal(people.keypoints, expected.keypoints)
    assert len(expected.confidence) >= 3
    with pytest.raises(edgepose.ModelError, match="expected twice as many cells"):
        TagDecoder(model, (34, 17), 0.05)([coarse[None], heatmaps[None, :, :-1]], (128, 192))
