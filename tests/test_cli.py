"""The command line as a whole: its options, its help, and what it loads."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import run

import edgepose
from edgepose.cli.main import make_parser


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [["models", "list"], ["models", "path"], ["doctor"]], ids=" ".join)
def test_a_report_for_a_full_disk_is_an_error_in_a_line(arguments):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "edgepose", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "edgepose: [Errno 28] No space left on device\n")


@pytest.mark.parametrize(
    "arguments",
    [[], ["run"], ["run", "x.jpg", "--max-frames", "-1"], ["run", "x.jpg", "--format", "xml"], ["models", "info"], ["fly"]],
    ids=" ".join,
)
def test_wrong_usage(arguments, capsys):
    assert run(*arguments) == 2
    assert "usage: edgepose" in capsys.readouterr().err


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of all its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from commands(each)


def test_help_is_in_full_sentences():
    for parser in commands(make_parser()):
        texts = [parser.description, *(action.help for action in parser._actions if action.dest not in ("help", "action"))]
        for text in texts:
            if text is not None:
                assert re.fullmatch(r"[A-Z].*[^.]\.", text), (parser.prog, text)
        for action in parser._actions:
            assert action.help or isinstance(action, argparse._SubParsersAction), (parser.prog, action.dest)
        parser.format_help()


def test_an_option_means_the_same_in_every_command():
    known: dict[str, tuple[object, ...]] = {}
    for parser in commands(make_parser()):
        for action in parser._actions:
            for option in action.option_strings:
                facts = (action.metavar, action.dest, action.nargs, action.choices and tuple(action.choices))
                assert known.setdefault(option, facts) == facts, (parser.prog, option)


@pytest.mark.parametrize("size", ["720", "1280,720", "1280x", "x720", "1280x720x3", "-1x5", "1²x5"])
def test_a_size_in_another_form_is_wrong_usage_and_the_error_shows_the_form(size, photo, capsys):
    assert run("run", photo, f"--camera-size={size}") == 2
    assert "expected WIDTHxHEIGHT in pixels, such as 1280x720" in capsys.readouterr().err


@pytest.mark.parametrize("fps", ["0", "-5", "nan", "fast", "1001"])
def test_a_rate_out_of_range_is_wrong_usage(fps, photo, capsys):
    for command, option in (("run", "--camera-fps"), ("serve", "--camera-fps"), ("serve", "--stream-fps")):
        assert run(command, photo, f"{option}={fps}") == 2
        assert "expected a number above 0, to 1000" in capsys.readouterr().err


def test_models_list_info_and_path(models_in_reach, capsys):
    assert run("models", "list") == 0
    listing = capsys.readouterr().out
    assert [line.split()[0] for line in listing.splitlines()[1:4]] == ["fast", "default", "accurate"]
    assert "needs conversion" in listing
    assert run("models", "info", "hrnet-w32") == 0
    assert "converters.export hrnet --variant w32" in capsys.readouterr().out
    assert run("models", "path") == 0
    assert capsys.readouterr().out.strip() == str(models_in_reach)
    assert run("models", "download", "openpose-mobilenet-v2-small") == 0
    assert Path(capsys.readouterr().out.strip()).parent == models_in_reach


def test_the_module_is_the_command(tmp_path):
    for arguments, said in ((["--version"], f"edgepose {edgepose.__version__}\n"), (["--help"], "usage: edgepose ")):
        done = subprocess.run([sys.executable, "-m", "edgepose", *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(said)


def test_import_is_lazy():
    script = "import sys, edgepose; edgepose.Poses.empty(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "cv2", "openvino", "numba"} & set(done.stdout.split())


def test_a_run_loads_nothing_that_it_does_not_use(model, photo, tmp_path):
    script = (
        "import sys; from edgepose.cli.main import main; status = main(sys.argv[1:]); print(*sys.modules)\n"
        "try: print(open('/proc/self/maps').read())\n"
        "except FileNotFoundError: pass\n"
        "sys.exit(status)"
    )
    arguments = ["run", str(photo), "--model", model, "--json", str(tmp_path / "o.json")]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    modules, _, libraries = done.stdout.partition("\n")
    unused = {"torch", "scipy.linalg", "openvino.tools.ovc", "skimage", "requests", "starlette", "filelock", "asyncio"}
    assert not unused & set(modules.split())
    for plugin in ("intel_gpu_plugin", "intel_npu_plugin", "onnx_frontend"):
        assert plugin not in libraries
