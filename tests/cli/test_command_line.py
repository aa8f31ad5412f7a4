"""The contract of the command line: streams, exit codes, one JSON document, help that matches the table."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinsmith.__main__ import COMMANDS, run
from tinsmith.runtime import errors


def test_exit_codes_are_the_documented_ones():
    codes = {
        errors.BudgetMissedError: 1, errors.UsageError: 2, errors.RecipeError: 2, errors.DataError: 2,
        errors.UnreadableSampleError: 2, errors.NotFiniteError: 2,
        errors.HostError: 3, errors.MissingDependencyError: 3, errors.OutputError: 3, errors.AcceleratorError: 3,
        errors.ModelError: 4, errors.ModelLoadError: 4, errors.ModelTimeoutError: 4,
        errors.UnsupportedOperatorError: 4, errors.UnsafeModelError: 4, errors.DeviceError: 5,
        errors.VerificationError: 6, errors.RolledBackError: 7, errors.TinsmithError: 70,
    }  # fmt: skip

    assert {error: error.exit_code for error in codes} == codes


def test_the_tree_in_the_docstring_names_every_error():
    for name in errors.__all__:
        if name.endswith("Error"):
            assert name in errors.__doc__, name


def test_every_error_has_a_code_of_its_own():
    classes = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]

    assert len({c.code for c in classes}) == len(classes)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_in_the_table_is_the_commands_own(name):
    module, attribute = COMMANDS[name][0].split(":")
    command = getattr(importlib.import_module(module), attribute)

    assert command.help.splitlines()[0] == COMMANDS[name][1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_reports_as_json(name, cli):
    code, out, _ = cli(name, "--help")

    assert code == 0
    assert name in out
    if name not in ("recipe", "data", "ranges", "serve", "devices"):  # groups, and one that becomes another program
        assert "--format" in out


def test_an_unknown_command_gets_the_nearest_one(cli):
    code, out, err = cli("compres", "x")

    assert (code, out) == (2, "")
    assert "did you mean `tinsmith compress`?" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "none.tflite"],
        ["benchmark", "none.tflite"],
        ["compress", "none.keras", "-r", "int8", "-o", "x.tflite"],
        ["recipe", "show", "in8"],
        ["benchmark", "--unknown"],
        ["nonsense"],
    ],
)
def test_an_error_under_json_is_one_document_on_stdout(arguments, cli):
    code, out, err = cli(*arguments, "--format", "json")

    document = json.loads(out)
    assert code in (2, 4)
    assert document["schema"] == 1
    assert document["error"].keys() == {"code", "message", "hint"}
    assert document["error"]["hint"]
    assert err == ""


@pytest.mark.parametrize("command", [["formats"], ["doctor"], ["recipe", "list"], ["recipe", "show", "int8"]])
def test_results_go_to_stdout_and_under_json_are_one_document(command, cli):
    code, out, err = cli(*command, "--format", "json")
    assert code == 0
    assert json.loads(out)["schema"] == 1
    assert err == ""

    code, out, err = cli(*command)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 100


def test_brackets_in_paths_and_commands_are_no_markup(golden, tmp_path, cli):
    path = tmp_path / "a [bold] ü.tflite"
    path.write_bytes((golden / "cnn.tflite").read_bytes())

    _, out, _ = cli("benchmark", path, "--processes", "1", "--runs", "11")
    assert "a [bold] ü.tflite" in out
    assert "p90 needs 64 runs" in out

    _, out, _ = cli("doctor")
    assert "tinsmith[" in out or "missing" not in out


def test_a_full_disk_behind_stdout_is_an_error(tmp_path):
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "tinsmith", "formats"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert ended.returncode == 3
    assert "No space left" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_reader_that_leaves_early_is_no_defect():
    read, write = os.pipe()
    os.close(read)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "tinsmith", "formats"], stdout=write, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(write)

    assert "Traceback" not in ended.stderr
    assert ended.returncode != 70


def test_a_defect_is_one_line_and_a_log(tmp_path, monkeypatch, capsys):
    def broken(**_):
        raise ZeroDivisionError("oh")

    from tinsmith.convert.commands.formats import formats

    monkeypatch.setattr(formats, "callback", broken)
    log = tmp_path / "log"

    assert run(["formats"], log=log) == 70
    said = capsys.readouterr()
    assert said.err.startswith("error: a defect in tinsmith: ZeroDivisionError: oh\n")
    assert str(log) in said.err
    assert "Traceback" in log.read_text()


def test_an_interruption_ends_with_130(monkeypatch, capsys):
    from tinsmith.convert.commands.formats import formats

    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(formats, "callback", interrupted)

    assert run(["formats"]) == 130


def test_what_passes_found_out_is_said_in_one_line():
    from tinsmith.compress.commands.compress import _found

    measured = {"macs before": 7489664, "macs after": 3742091, "scales before": 0, "scales after": 0, "bound": 3e-23}
    assert (
        _found({**measured, "left": "none", "after": 1})
        == "macs: 7,489,664 → 3,742,091; bound: 3e-23; left: none; after: 1"
    )
    assert _found({}) == ""
