from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from broken_networks import BROKEN, OF_PAFS, OF_TAGS, answering, broken, scaled

import edgepose
from converters.int8.gate import Accuracy, AccuracyGate, AgreementGate, Sight
from converters.pictures import network_inputs
from edgepose.engines.openvino import read_network
from edgepose.errors import InputError, ModelError
from edgepose.loading import locate
from edgepose.poses import Poses
from edgepose.skeleton import COCO17
from edgepose.zoo import registry

pytestmark = pytest.mark.slow

HEIGHT = 256
SIZE = (256, 344)  # one for all pictures, so that each network is compiled once


@pytest.fixture(scope="module")
def default():
    """The embedded model with FP16 weights."""
    path, model = locate("lightweight-openpose-075")
    return read_network(path), model


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = pytest.importorskip("skimage.data")
    path = tmp_path_factory.mktemp("photos") / "astronaut.png"
    cv2.imwrite(str(path), data.astronaut()[..., ::-1])
    return path


@pytest.fixture(scope="module")
def photos(shared) -> list[Path]:
    return sorted((shared / "data" / "eval" / "images").iterdir())


@pytest.fixture(scope="module")
def seen(default, photos):
    """Gates on four photos, by people and by maps, and what the embedded model makes of these."""
    network, model = default
    gates = [AgreementGate(model, SIZE, photos[:4], by_maps=by_maps) for by_maps in (False, True)]
    return gates, gates[0].measure(network)


def test_a_network_agrees_with_itself_and_not_with_a_broken_one(default, photo):
    network, model = default
    gate = AgreementGate(model, HEIGHT, [photo])
    reference = gate.measure(network)
    assert gate.describe(reference) == "1 people"
    verdict = gate.judge(reference, gate.measure(network))
    assert verdict.passed
    assert verdict.figures == "OKS 1.000, 0 lost and 0 invented of 1 people"
    refused = gate.judge(reference, gate.measure(broken(network, scaled(-1))))
    assert not refused.passed
    assert "1 lost" in refused.figures


@pytest.mark.parametrize("change", [pytest.param(it, id=name) for name, it in {**BROKEN, **OF_PAFS}.items()])
def test_a_broken_network_passes_neither_by_people_nor_by_maps(default, seen, change):
    gates, reference = seen
    measured = gates[0].measure(broken(default[0], change))
    for gate in gates:
        assert not gate.judge(reference, measured).passed


@pytest.mark.parametrize("factor", [0, -1])
def test_every_limb_and_keypoint_that_is_dead_or_negative_is_refused_by_people_and_by_maps(seen, factor):
    gates, reference = seen
    for kind, output, count in (("keypoint", 0, 19), ("paf", 1, 38)):
        for index in range(count):
            maps = [[values.copy() for values in run] for run in reference.maps]
            for run in maps:
                run[output][:, index] = 0
            assert not gates[1].judge(reference, Sight(reference.people, maps)).passed, (kind, index)


def test_good_int8_passes_by_maps(default, photos):
    network, model = default
    gate = AgreementGate(model, HEIGHT, photos[:8], by_maps=True)
    verdict = gate.judge(gate.measure(network), gate.measure(read_network(locate("lightweight-openpose-075-int8")[0])))
    assert verdict.passed, verdict.figures


def test_the_same_network_in_the_device_s_own_arithmetic_passes_by_people(default, photos):
    network, model = default
    gate = AgreementGate(model, HEIGHT, photos[:8])
    verdict = gate.judge(gate.measure(network), gate.measure(network, precision=None))  # bf16, where the processor has it
    assert verdict.passed, verdict.figures


@pytest.fixture(scope="module")
def of_tags(shared, tmp_path_factory):
    """A network that answers heatmaps and tags of people, its model, and a picture to ask it about."""
    golden = np.load(shared / "golden" / "tags_00.npz")
    maps = np.concatenate([golden["heatmaps"], golden["tags"]])[None]
    path = tmp_path_factory.mktemp("tags") / "any.png"
    cv2.imwrite(str(path), np.zeros((2 * maps.shape[2], 2 * maps.shape[3], 3), np.uint8))
    size = (2 * maps.shape[2], 2 * maps.shape[3])
    return answering(maps), replace(registry.get("higher-hrnet-w32"), size=size), path


@pytest.mark.parametrize("change", [pytest.param(it, id=name) for name, it in {**BROKEN, **OF_TAGS}.items()])
def test_a_broken_network_of_tags_is_refused(of_tags, change):
    network, model, picture = of_tags
    for by_maps in (False, True):
        gate = AgreementGate(model, model.size, [picture], by_maps=by_maps)
        reference = gate.measure(network)
        assert by_maps or reference.people[0].confidence.max() > 0.1
        assert gate.judge(reference, reference).passed
        assert not gate.judge(reference, gate.measure(broken(network, change))).passed


@pytest.fixture(scope="module")
def top_down(shared, photos, tmp_path_factory):
    """A top-down network that answers what a trained one does to a photo, its model, and that photo."""
    torch = pytest.importorskip("torch")
    from edgepose.networks import HRNet
    from edgepose.networks.checkpoints import load_hrnet

    model = registry.get("hrnet-w32")
    network = HRNet.variant("w32-compact").eval()
    load_hrnet(network, shared / "data" / "weights" / "hrnet_w32_compact.npz")
    blank = answering(np.zeros((1, 17, 64, 48)))
    people = edgepose.PoseEstimator("default", min_confidence=0)
    lonely = next(photo for photo in photos if (people(cv2.imread(str(photo))).confidence > 0.3).tolist() == [True])
    (tensor,) = network_inputs(blank, model, model.size, lambda estimate: estimate(cv2.imread(str(lonely))), limit=1)
    with torch.inference_mode():
        maps = network(torch.from_numpy(tensor)).numpy()
    return answering(maps), model, lonely


@pytest.mark.parametrize("change", [pytest.param(it, id=name) for name, it in BROKEN.items()])
def test_a_broken_top_down_network_is_refused(top_down, change):
    network, model, picture = top_down
    for by_maps in (False, True):
        gate = AgreementGate(model, model.size, [picture], by_maps=by_maps)
        reference = gate.measure(network)
        assert gate.describe(reference) == "1 people"
        assert gate.judge(reference, reference).passed
        assert not gate.judge(reference, gate.measure(broken(network, change))).passed


def test_keypoints_invented_at_random_places_are_refused(seen):
    gates, reference = seen
    random = np.random.default_rng(0)
    people = []
    for poses in reference.people:
        keypoints, scores = poses.keypoints.copy(), poses.scores.copy()
        invented = random.random(scores.shape) < 0.4
        keypoints[invented] = random.uniform(0, 400, (int(invented.sum()), 2))
        scores[invented] = 1
        absent = poses.scores == 0  # what the reference has stays: its OKS is 1
        keypoints = np.where(absent[..., None], keypoints, poses.keypoints)
        people.append(Poses(keypoints, np.where(absent, scores, poses.scores), poses.confidence))
    verdict = gates[0].judge(reference, Sight(people, reference.maps))
    assert not verdict.passed
    assert "OKS 1.000, 0 lost and 0 invented" in verdict.figures
    assert "keypoints" in verdict.figures


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.5])
def test_scores_that_are_far_off_are_refused(seen, factor):
    gates, reference = seen
    people = [
        Poses(poses.keypoints, np.minimum(factor * poses.scores, 1), np.minimum(factor * poses.confidence, 1))
        for poses in reference.people
    ]
    verdict = gates[0].judge(reference, Sight(people, reference.maps))
    assert not verdict.passed
    assert "scores" in verdict.figures or "keypoints" in verdict.figures


@pytest.mark.parametrize("by_maps", [False, True])
@pytest.mark.parametrize("dead", [False, True])
def test_pictures_without_anything_prove_nothing(default, tmp_path, dead, by_maps):
    network, model = default
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((200, 300, 3), 90, np.uint8))
    gate = AgreementGate(model, HEIGHT, [tmp_path / "grey.png"], by_maps=by_maps)
    reference = gate.measure(network)
    assert gate.describe(reference) == "0 people"
    with pytest.raises(InputError, match="photos with people"):
        gate.judge(reference, gate.measure(broken(network, scaled(0))) if dead else reference)


def test_a_dead_reference_is_no_reference(default, photo):
    network, model = default
    for by_maps in (False, True):
        gate = AgreementGate(model, HEIGHT, [photo], by_maps=by_maps)
        dead = gate.measure(broken(network, scaled(0)))
        with pytest.raises(InputError, match="photos with people"):
            gate.judge(dead, dead)
        nan = gate.measure(broken(network, scaled(float("nan"))))
        with pytest.raises((ModelError, InputError)):
            gate.judge(nan, nan)


@pytest.mark.parametrize(
    ("change", "passed"), [(scaled(1), True), (scaled(0), False), (scaled(0.01), False), (scaled(0, "keypoint"), False)]
)
def test_where_nobody_is_seen_for_sure_the_maps_decide(default, seen, change, passed):
    (gate, _), reference = seen
    reference = Sight([Poses.empty() for _ in reference.people], reference.maps)  # faint people, whom nobody can be sure of
    measured = gate.measure(broken(default[0], change))
    verdict = gate.judge(reference, Sight(reference.people, measured.maps))
    assert verdict.passed is passed
    assert "nobody seen" in verdict.figures


def test_people_where_the_reference_sees_nobody_are_invented(seen):
    gates, reference = seen
    verdict = gates[0].judge(Sight([Poses.empty() for _ in reference.people], reference.maps), reference)
    assert not verdict.passed
    assert "people invented" in verdict.figures


@pytest.fixture(scope="module")
def annotated(default, shared):
    """A gate by AP on twelve photos, and what the embedded model reaches on these."""
    network, model = default
    data = shared / "data" / "eval"
    gate = AccuracyGate(model, HEIGHT, data / "person_keypoints_eval.json", data / "images", 12)
    return gate, gate.measure(network)


@pytest.mark.parametrize("change", [pytest.param(it, id=name) for name, it in {**BROKEN, **OF_PAFS}.items()])
def test_a_broken_network_does_not_pass_by_ap(default, annotated, change):
    gate, reference = annotated
    assert not gate.judge(reference, gate.measure(broken(default[0], change))).passed


def test_good_int8_passes_by_ap(annotated):
    gate, reference = annotated
    assert (reference.images, reference.people) == (12, 31)
    assert gate.judge(reference, reference).passed
    verdict = gate.judge(reference, gate.measure(read_network(locate("lightweight-openpose-075-int8")[0])))
    assert verdict.passed, verdict.figures


def reached(ap: float, *, people: int = 100, scores: float = 40.0) -> Accuracy:
    maps = np.random.default_rng(0).random((1, 17, 20, 20), np.float32)
    return Accuracy(ap, 50, people, np.full(len(COCO17), scores), [[maps]])


@pytest.fixture
def by_ap(default) -> AccuracyGate:
    return AccuracyGate(default[1], HEIGHT, Path("a.json"), Path("images"), None)


@pytest.mark.parametrize(("candidate", "passed"), [(29.01, True), (28.9, False), (31.0, True), (float("nan"), False)])
def test_a_loss_of_one_point_of_ap_passes_and_more_does_not(by_ap, candidate, passed):
    assert by_ap.judge(reached(30.0), reached(candidate)).passed is passed


@pytest.mark.parametrize(
    ("ap", "scores", "passed"),
    [(30, 36, True), (30, 20, False), (30, 60, False), (35, 60, True), (35, 20, False), (30, 0, False)],
)
def test_scores_have_to_stay_unless_ap_rises(by_ap, ap, scores, passed):
    verdict = by_ap.judge(reached(30.0), reached(ap, scores=scores))
    assert verdict.passed is passed
    assert passed or "noses" in verdict.figures


@pytest.mark.parametrize("ap", [0.0, 1.9, 4.9, float("nan")])
def test_a_small_ap_proves_nothing(by_ap, ap):
    with pytest.raises(InputError, match=r"itself has AP .* 50 images with 100 annotated people.*leave out the annotations"):
        by_ap.judge(reached(ap), reached(ap))


def test_a_handful_of_people_proves_nothing(by_ap):
    with pytest.raises(InputError, match=r"50 images with 9 annotated people prove nothing.*--max-images"):
        by_ap.judge(reached(60, people=9), reached(60, people=9))
