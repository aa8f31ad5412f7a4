"""The command blocks of the README and of docs/, and a folder with all the files that they name."""

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"
ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
# What a block that holds commands begins with; every other block shows a file or an output.
_PROGRAMS = ("tinsmith ", "make ", "pip ", "python ", "curl ", "adb ", "unzip ", "export ", "sudo ")
_UNRUN = re.compile(r"<!-- not run: (\S.*) -->")
# What pages call the models of the shelf.
_MODELS = {
    "signs.keras": ("model.keras", "m.keras", "demo-output/digits.keras"),
    "signs.tflite": ("small.tflite", "m.tflite", "digits.tflite"),
    "signs.onnx": ("m.onnx", "big.onnx", "small.onnx"),
}
_CLASSES = ("level", "upright", "aslant")
_BOARDS = {"kitchen": ["canary"], "one": ["shop"], "two": ["shop"], "three": ["shop"]}
_MADE_BY_TINSMITH = (
    "bundle --new-key team",
    "bundle small.tflite -o app.tin --data data.yaml --key team.key --version 1",
    "bundle small.tflite -o v1.tin --name small --version 1",
    "bundle small.tflite -o v2.tin --name small --version 2",
)
_BUILDER = """
def build():
    import keras

    layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(8, 3, activation="relu")]
    return keras.Sequential([*layers, keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(3, activation="softmax")])
"""
# An answer that is an error must be seen, also where a page forgot to ask for that; curl takes either option, not both.
_CURL = """#!/bin/sh
case " $* " in
  *" --fail "* | *" --fail-with-body "*) exec "{curl}" "$@" ;;
  *) exec "{curl}" --fail "$@" ;;
esac
"""
_CONTINUED = re.compile(r"\\\n\s*")


@dataclass(frozen=True, kw_only=True)
class Block:
    """Commands as a page shows them; ``unrun`` says why they can't be run here, and is empty where they can."""

    page: str
    line: int
    commands: tuple[str, ...]
    unrun: str

    @property
    def tinsmith(self) -> list[list[str]]:
        """The arguments of each call of tinsmith, as a shell would take the line apart."""
        return [call[1:] for command in self.commands for call in _calls_of(command) if call[:1] == ["tinsmith"]]


def _calls_of(command: str) -> list[list[str]]:
    """The programs that one line starts, without redirections and comments."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    calls: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if set(word) <= set("<>"):
            next(words)
        elif set(word) <= set(";&|()"):
            calls.append([])
        else:
            calls[-1].append(word)
    return [call for call in calls if call]


def blocks_of(path: Path) -> list[Block]:
    """The command blocks of a page, indented or between fences."""
    found, unrun, lines = [], "", path.read_text().split("\n")
    at = 0
    while at < len(lines):
        start, taken = at, _block_at(lines, at)
        at += max(1, len(taken))
        if not taken:
            marker = _UNRUN.fullmatch(lines[start].strip())
            # a marker counts for the very next block
            unrun = marker[1] if marker else unrun if not lines[start].strip() else ""
            continue
        text = _CONTINUED.sub(" ", "\n".join(line.removeprefix("    ") for line in taken if "```" not in line))
        commands = tuple(line.removeprefix("$ ") for line in text.split("\n") if line.strip())
        if any(command.startswith(_PROGRAMS) for command in commands):
            found.append(Block(page=path.relative_to(ROOT).as_posix(), line=start + 1, commands=commands, unrun=unrun))
        unrun = ""
    return found


def _block_at(lines: list[str], at: int) -> list[str]:
    """The lines of the block that begins here; none where none does."""
    if lines[at].startswith("```"):
        end = next(n for n in range(at + 1, len(lines)) if lines[n].startswith("```"))
        return lines[at : end + 1]
    if not lines[at].startswith("    ") or (at and lines[at - 1].strip()):
        return []
    end = at
    while end < len(lines) and lines[end].startswith("    "):
        end += 1
    return lines[at:end]


@pytest.fixture(scope="session")
def blocks_in():
    """Reads a page's blocks: path -> blocks."""
    return blocks_of


def pytest_generate_tests(metafunc):
    """One test a page."""
    if "page" in metafunc.fixturenames:
        pages = [page for page in PAGES if blocks_of(page)]
        metafunc.parametrize("page", pages, ids=[p.relative_to(ROOT).as_posix() for p in pages])


@pytest.fixture(scope="session")
def calls_of():
    """Takes a line apart: text -> the words of each program that it starts."""
    return _calls_of


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """A folder with a `tinsmith` and a `python` that are those of this very checkout, and a `curl` that sees errors."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "tinsmith").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tinsmith "$@"\n')
    (folder / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    if curl := shutil.which("curl"):
        (folder / "curl").write_text(_CURL.format(curl=curl))
    for program in folder.iterdir():
        program.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def shelf(tmp_path_factory, programs):
    """A folder with every file that a page names and does not make: small models, samples, keys, boards."""
    folder = tmp_path_factory.mktemp("shelf")
    for source, names in _MODELS.items():
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(GOLDEN / source, folder / name)
    _put_samples(folder)
    _put_boards(folder)
    for arguments in _MADE_BY_TINSMITH:
        subprocess.run([programs / "tinsmith", *arguments.split(), "-q"], cwd=folder, check=True, capture_output=True)
    return folder


def _strokes(samples, seed):
    """Bright strokes under noise, as the models of the shelf have learned to tell apart: level, upright or aslant."""
    drawn = np.random.default_rng(seed)
    labels = drawn.integers(0, 3, samples)
    images = drawn.normal(70, 25, (samples, 16, 16, 3))
    along = np.arange(16)
    for image, label, at in zip(images, labels, drawn.integers(4, 12, samples), strict=True):
        rows, columns = [(at, along), (along, at), (along, np.clip(along + at - 8, 0, 15))][label]
        image[rows, columns] += drawn.uniform(90, 140, 3)
    return np.clip(images, 0, 255).astype(np.uint8), labels


def _put_samples(folder):
    from PIL import Image

    for seed, names in enumerate([("calib.npz", "demo-output/calibration.npz"), ("test.npz", "demo-output/test.npz")]):
        images, labels = _strokes(200, 10 + seed)
        for name in names:
            np.savez(folder / name, x=images, y=labels)
    images, labels = _strokes(120, 13)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / "photos" / _CLASSES[label] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
        birds = folder / "birds" / f"bird{number % 12:02}" / f"{number}.png"
        birds.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(birds)
    shutil.copyfile(folder / "photos" / _CLASSES[labels[0]] / "0.png", folder / "cat.png")
    (folder / "image.f32").write_bytes(images[0].astype("<f4").tobytes())
    (folder / "data.yaml").write_text("source: photos/\nsplit: {train: 0.6, calibration: 0.2, validation: 0.2}\n")
    (folder / "my_models.py").write_text(_BUILDER)


def _put_boards(folder):
    """Three folders of this machine as boards, as many as a rollout needs."""
    lines = []
    for name, groups in _BOARDS.items():
        (folder / name / "trusted").mkdir(parents=True)
        (folder / name / "trusted" / "team.pub").symlink_to("../../team.pub")
        address = f"local:{folder / name}"
        lines += [f"[devices.{name}]", 'profile = "local"', f'address = "{address}"', f"groups = {groups}", ""]
    (folder / "devices.toml").write_text("\n".join(lines))
