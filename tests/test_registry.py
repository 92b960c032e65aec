"""The zoo's table, and the descriptions that users and converters write."""

from __future__ import annotations

import dataclasses
import platform
import re
from pathlib import Path
from typing import Any

import pytest

from edgepose.errors import ModelError, UnknownModelError
from edgepose.zoo import registry
from edgepose.zoo.registry import EXAMPLE_YAML, Model, ModelFile

POSE: dict[str, Any] = {
    "task": "bottom-up",
    "decoder": "paf",
    "skeleton": "openpose18",
    "colour": "BGR",
    "layout": "NCHW",
    "mean": [128, 128, 128],
    "scale": [256, 256, 256],
    "size": [256, 456],
    "stride": 8,
}
DETECTOR = {**POSE, "task": "detector", "decoder": "ssd", "skeleton": None, "person_label": 0, "stride": 1}


def parse(**changes: object) -> Model:
    return registry.parse("mine", {**POSE, **changes}, "mine.yaml")


def test_the_zoo_has_the_models_of_its_table() -> None:
    assert registry.names() == [
        "lightweight-openpose-075",
        "lightweight-openpose-075-int8",
        "hrnet-w32-compact",
        "hrnet-w32-compact-int8",
        "openpose-mobilenet-v2-small",
        "human-pose-estimation-0001",
        "human-pose-estimation-0001-fp32",
        "human-pose-estimation-0005",
        "human-pose-estimation-0006",
        "human-pose-estimation-0007",
        "lightweight-openpose",
        "hrnet-w32",
        "hrnet-w32-384x288",
        "hrnet-w48",
        "hrnet-w48-384x288",
        "higher-hrnet-w32",
        "person-detection-retail-0013",
        "person-detection-0200",
    ]


@pytest.mark.parametrize(
    ("machine", "suffix"), [("x86_64", "-int8"), ("AMD64", "-int8"), ("aarch64", ""), ("arm64", ""), ("ARM64", "")]
)
def test_aliases_stand_for_models_by_processor(machine: str, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert [(alias.name, alias.model) for alias in registry.aliases()] == [
        ("fast", f"lightweight-openpose-075{suffix}"),
        ("default", f"lightweight-openpose-075{suffix}"),
        ("accurate", f"hrnet-w32-compact{suffix}"),
    ]
    assert registry.get(registry.DEFAULT) == registry.get(f"lightweight-openpose-075{suffix}")
    assert registry.DEFAULT not in registry.names()


def test_an_alias_says_how_its_model_is_run() -> None:
    fast, default, accurate = (registry.get(alias.name) for alias in registry.aliases())
    assert fast == dataclasses.replace(default, size=(192, 344))
    assert accurate == dataclasses.replace(registry.get(accurate.name), detector="default")


@pytest.mark.parametrize("alias", registry.aliases(), ids=lambda alias: alias.name)
def test_every_alias_is_complete(alias: registry.Alias) -> None:
    assert None not in (alias.ap, alias.ms, alias.purpose)
    assert alias.detector is None or registry.get(alias.detector).task != "top-down"


@pytest.mark.parametrize("name", registry.names())
def test_every_entry_is_complete(name: str) -> None:
    model = registry.get(name)
    assert model.name == name
    assert model.licence in ("Apache-2.0", "MIT")
    assert model.source
    assert model.files
    assert model.gflops is not None
    if all(file.url for file in model.files):  # the others are inside the package
        assert model.source.startswith("https://")
        assert all(file.url and file.url.startswith("https://") for file in model.files)
    # OpenVINO takes the weights from beside the .xml, under the same stem.
    assert len({Path(file.name).stem for file in model.files}) == 1
    assert (model.conversion is None) == (not model.files[0].name.endswith(".pth"))
    assert [file.name for file in model.files if file.checksum is None] == (
        ["checkpoint_iter_370000.pth"] if name == "lightweight-openpose" else []
    )


def test_file_names_are_unique() -> None:
    files = [file.name for name in registry.names() for file in registry.get(name).files]
    assert len(files) == len(set(files))


def test_checksum_prefixes_are_those_in_the_file_names() -> None:
    prefixed = [file for name in registry.names() for file in registry.get(name).files if "prefix" in str(file.checksum)]
    assert len(prefixed) == 4
    assert all(str(file.checksum).removeprefix("sha256-prefix:") in file.name for file in prefixed)


def test_the_zoo_agrees_with_the_shared_model(shared: Path) -> None:
    [file] = registry.get("openpose-mobilenet-v2-small").files
    digest, name = (shared / "models" / "SHA256SUMS").read_text().split()
    assert file.name == Path(name).name
    assert file.checksum == f"sha256:{digest}"
    assert file.size == (shared / "models" / file.name).stat().st_size


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("openpose-mobilenet", "did you mean openpose-mobilenet-v2-small"),
        ("hrnet_w48", "did you mean hrnet-w48"),
        ("HRNET-W32", "no model 'HRNET-W32' in the zoo"),
        ("", "no model '' in the zoo; `edgepose models list` shows all"),
        ("x" * 10_000, "`edgepose models list`"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UnknownModelError, match=re.escape(hint)) as caught:
        registry.get(name)
    assert len(str(caught.value)) < 400


def test_the_fields_needed_to_run_are_enough() -> None:
    model = parse()
    assert (model.name, model.mean, model.size, model.multiple) == ("mine", (128, 128, 128), (256, 456), 8)
    assert (model.outputs, model.files, model.person_label, model.ap) == ((), (), None, None)


def test_the_files_of_a_model_are_read() -> None:
    model = parse(files=[{"name": "a.xml", "size": 3, "checksum": "sha256-prefix:0123abcd"}, {"name": "a.bin"}])
    assert model.files == (ModelFile("a.xml", size=3, checksum="sha256-prefix:0123abcd"), ModelFile("a.bin"))


@pytest.mark.parametrize("field", [field for field in POSE if field != "skeleton"])
@pytest.mark.parametrize("how", ["left out", "null"])
def test_a_missing_field_is_named(field: str, how: str) -> None:
    fields = {key: value for key, value in POSE.items() if key != field}
    if how == "null":
        fields[field] = None
    with pytest.raises(ModelError, match=f"^mine.yaml: field {field} is missing, expected "):
        registry.parse("mine", fields, "mine.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"taks": "bottom-up"}, "unknown field 'taks', expected one of task, decoder"),
        ({1: 2}, "unknown field 1, expected"),
        ({"task": "side-on"}, "task is 'side-on', expected bottom-up or top-down or detector"),
        ({"task": ["bottom-up"]}, r"task is \['bottom-up'\], expected"),
        ({"task": "top-down"}, "task is 'top-down', expected bottom-up, which is what decoder paf serves"),
        ({"colour": "bgr"}, "colour is 'bgr', expected BGR or RGB"),
        ({"layout": "CHW"}, "layout is 'CHW', expected NCHW or NHWC"),
        ({"skeleton": "coco17"}, "skeleton is 'coco17', expected openpose18 with decoder paf"),
        ({"skeleton": None}, "skeleton is None, expected openpose18"),
        ({"mean": 128}, "mean is 128, expected three numbers"),
        ({"mean": [128, 128]}, r"mean is \[128, 128\], expected three numbers"),
        ({"mean": "[128, 128, 128]"}, r"mean is '\[128, 128, 128\]', expected three numbers"),
        ({"mean": [128, 128, float("nan")]}, "mean is .*nan.*, expected three numbers"),
        ({"mean": [128, 128, True]}, "mean is .*True.*, expected three numbers"),
        ({"scale": [256, 0, 256]}, "scale is .*, expected three positive numbers"),
        ({"scale": [256, float("inf"), 256]}, "scale is .*inf.*, expected three positive numbers"),
        ({"size": [256.0, 456]}, r"size is \[256.0, 456\], expected height and width"),
        ({"size": [250, 456]}, r"size is \(250, 456\), expected sides that are multiples of 8"),
        ({"size": [0, 456]}, "size is .*, expected height and width"),
        ({"stride": "8"}, "stride is '8', expected a positive whole number"),
        ({"stride": 16}, "multiple is 8, expected a multiple of the stride, 16"),
        ({"multiple": -8}, "multiple is -8, expected a positive whole number"),
        ({"person_label": 1}, "person_label is 1, expected a number for detectors"),
        ({"person_label": False}, "person_label is False, expected a whole number"),
        ({**DETECTOR, "person_label": None}, "person_label is None, expected a number for detectors"),
        ({**DETECTOR, "skeleton": "coco17"}, "skeleton is 'coco17', expected None with decoder ssd"),
        ({"outputs": [19, "38"]}, r"outputs is \[19, '38'\], expected a list of channel counts"),
        ({"stride": 0x10 << 80_000}, "stride is a number of thousands of digits, expected"),
        ({"ap": 40}, "ap_protocol is None, expected how ap was measured"),
        ({"ap": "40", "ap_protocol": "mine"}, "ap is '40', expected a number, in percent"),
        ({"licence": ""}, "licence is '', expected text"),
        ({"files": {"name": "a.xml"}}, "files is .*, expected a list of files"),
        ({"files": [{"size": 3}]}, r"files\[0\]: field name is missing, expected a plain file name"),
        ({"files": [{"name": "a"}, {"name": "../a"}]}, r"files\[1\]: name is '../a', expected a plain file name"),
        ({"files": [{"name": "/etc/a"}]}, "name is '/etc/a', expected a plain file name"),
        ({"files": [{"name": "a\\b"}]}, "expected a plain file name"),
        ({"files": [{"name": "a", "url": "ftp://b/a"}]}, "url is 'ftp://b/a', expected an http or https address"),
        ({"files": [{"name": "a", "size": 0}]}, "size is 0, expected bytes"),
        ({"files": [{"name": "a", "checksum": "sha256:12"}]}, "checksum is 'sha256:12', expected sha256:, sha384:"),
        ({"files": [{"name": "a", "checksum": "md5:" + "0" * 32}]}, "checksum is 'md5:"),
        ({"files": [{"name": "a", "sha": "0"}]}, r"files\[0\]: unknown field 'sha', expected one of name, url"),
    ],
)
def test_a_bad_field_is_named(changes: dict[Any, object], message: str) -> None:
    with pytest.raises(ModelError, match=f"^mine.yaml: .*{message}") as caught:
        registry.parse("mine", {**POSE, **changes}, "mine.yaml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_detector_has_a_person_label_and_no_skeleton() -> None:
    model = registry.parse("mine", DETECTOR, "mine.yaml")
    assert (model.person_label, model.skeleton) == (0, None)


@pytest.mark.parametrize("name", registry.names())
def test_yaml_is_read_back_as_it_was(name: str) -> None:
    model = registry.get(name)
    assert registry.from_yaml(name, registry.to_yaml(model), "rt_info") == model


def test_yaml_has_only_what_is_given() -> None:
    text = registry.to_yaml(dataclasses.replace(registry.get("hrnet-w32"), files=(), conversion=None, notes=None))
    assert not re.search(r"null|\[\]|name|files|conversion|notes|&id", text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping of fields such as task and decoder, got None"),
        ("- task", r"expected a mapping of fields such as task and decoder, got \['task'\]"),
        ("task: [", "expected YAML, got while parsing"),
        ("task: !!python/object/apply:os.system [true]", "expected YAML, got could not determine a constructor"),
        ("task: 2001-99-99", "expected YAML, got month must be in 1..12"),
        ("[" * 20_000, "expected YAML, got "),
        ("task: \x00", "expected YAML, got "),
        ("task: &a [*a]", "task is .*, expected bottom-up"),
        ("a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\ntask: [*c,*c,*c]", "unknown field 'a', expected"),
        ("#" * 70_000, "the description has more than 65536 characters"),
    ],
    ids=["empty", "list", "broken", "code", "no date", "nested", "control", "recursive", "aliases", "huge"],
)
def test_text_that_describes_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=f"^mine.yaml: {message}") as caught:
        registry.from_yaml("mine", text, "mine.yaml")
    assert "\n" not in str(caught.value)


def test_a_yaml_beside_the_model_describes_it(tmp_path: Path) -> None:
    model = tmp_path / "net.v2.onnx"
    assert registry.describe_file(model) is None
    (tmp_path / "net.v2.yaml").write_text(EXAMPLE_YAML)
    assert registry.describe_file(model) == registry.parse("net.v2", POSE, "here")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00", "expected a readable UTF-8 text file"),
        ("#ä".encode() * 70_000, "more than 65536 characters"),
        (b"task: bottom-up", "field decoder is missing"),
    ],
)
def test_a_bad_yaml_beside_the_model_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "net.yaml").write_bytes(content)
    with pytest.raises(ModelError, match=f"^{re.escape(str(tmp_path / 'net.yaml'))}: .*{message}"):
        registry.describe_file(tmp_path / "net.xml")


def test_the_error_for_an_undescribed_model_shows_an_example_that_works(tmp_path: Path) -> None:
    error = registry.undescribed(tmp_path / "net.onnx")
    head, example = str(error).split("\n", 1)
    assert head == f"{tmp_path}/net.onnx does not say how to feed and read it; describe it in {tmp_path}/net.yaml, such as"
    assert registry.from_yaml("net", example, "example") == registry.parse("net", POSE, "here")


def test_what_the_frame_does_not_fill_is_grey_or_the_mean() -> None:
    assert parse(mean=[10, 20, 300]).padding_bgr == (10, 20, 255)
    assert parse(mean=[10, 20, 30], colour="RGB").padding_bgr == (30, 20, 10)
    assert parse(padding=114).padding_bgr == (114, 114, 114)
    for wrong in (-1, 256, 1.5, [1, 2, 3]):
        with pytest.raises(ModelError, match=r"padding is .*, expected a grey level, a whole number from 0 to 255"):
            parse(padding=wrong)
    with pytest.raises(ModelError, match="boxes is 'xyxy', expected corners or centre"):
        parse(boxes="xyxy")


@pytest.mark.parametrize("skeleton", ["coco17", "mpii16", "halpe26", "wholebody133"])
def test_top_down_models_may_have_any_keypoints(skeleton: str) -> None:
    model = parse(task="top-down", decoder="heatmaps", skeleton=skeleton)
    assert registry.from_yaml("mine", registry.to_yaml(model), "mine.yaml") == model
    with pytest.raises(ModelError, match=r"skeleton is .*, expected openpose18 or"):
        parse(task="top-down", decoder="heatmaps", skeleton="body25")
    with pytest.raises(ModelError, match="expected None with decoder boxes"):
        parse(task="detector", decoder="boxes", person_label=0, skeleton=skeleton)
