"""The house rules: each of these was a way in which the layout could break unnoticed."""

import ast
import configparser
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tinsmith

ROOT = Path(__file__).parents[2]
FOLDERS = ("compress", "convert", "runtime", "devices")
IMPORTED = Path(tinsmith.__file__).resolve().parent


def in_checkout():
    return IMPORTED == ROOT


def sources():
    return [*ROOT.glob("*.py"), *(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))]


def read_setup():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_every_package_folder_is_listed_for_the_wheel():
    listed = set(read_setup()["options"]["packages"].split())
    found = {"tinsmith"} | {
        "tinsmith." + ".".join(path.parent.relative_to(ROOT).parts)
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("__init__.py")
    }

    assert listed == found


def test_every_folder_with_modules_is_a_package():
    for path in sources():
        assert (path.parent / "__init__.py").exists(), path


def test_the_root_holds_exactly_two_modules():
    assert sorted(p.name for p in ROOT.glob("*.py")) == ["__init__.py", "__main__.py"]


def test_no_tests_folder_is_a_package():
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_package_data_names_its_package():
    assert "*" not in read_setup()["options.package_data"]


@pytest.mark.skipif(not in_checkout(), reason="the links are for type checkers in a checkout")
def test_the_typing_links_lead_to_every_folder():
    links = {p.name: p.resolve() for p in (ROOT / ".typing" / "tinsmith").iterdir()}

    assert links == {name: ROOT / name for name in (*FOLDERS, "__init__.py", "__main__.py", "py.typed")}


def test_the_six_packages_stand_in_setup_cfg():
    text = (ROOT / "setup.cfg").read_text()

    for package in ("tensorflow", "tensorflow-model-optimization", "tflite-runtime", "onnx", "onnxruntime", "click"):
        assert f"    {package}>=" in text, package


def test_no_file_is_long_and_no_function_is():
    for path in sources():
        text = path.read_text()
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}:{node.lineno} {node.name}"


def test_nothing_is_called_utils():
    for path in sources():
        assert path.stem not in {"utils", "helpers", "common", "core", "misc"}, path


def imports_at_top(path):
    """Modules imported when the file is imported; type-checking blocks and function bodies do not count."""
    found = []

    def visit(body):
        for node in body:
            if isinstance(node, ast.Import):
                found.extend(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.append(node.module)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test):
                visit(node.body)
                visit(node.orelse)
            elif isinstance(node, ast.Try | ast.With):
                visit(node.body)

    visit(ast.parse(path.read_text()).body)
    return found


def test_the_detector_sees_what_it_must(tmp_path):
    path = tmp_path / "x.py"
    path.write_text(
        "import a\nfrom b.c import d\nif TYPE_CHECKING:\n    import no\ntry:\n    import e\nexcept X:\n    pass\n"
        "def f():\n    import no\n"
    )

    assert imports_at_top(path) == ["a", "b.c", "e"]


HEAVY = {"tensorflow", "keras", "tf_keras", "tf2onnx", "onnx", "onnxruntime", "ai_edge_litert", "ai_edge_quantizer",
         "onnx_ir", "sklearn", "PIL", "tflite_runtime", "h5py", "flatbuffers",
         "mlflow", "wandb", "sqlalchemy", "alembic"}  # fmt: skip


def test_frameworks_and_engines_are_imported_inside_functions_only():
    for path in sources():
        heavy = HEAVY & {module.split(".")[0] for module in imports_at_top(path)}
        assert not heavy, f"{path} imports {heavy} when it is imported"


def fresh(code):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout.split()


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import tinsmith.runtime", {"numpy", "click", "rich"}),
        ("from tinsmith.__main__ import run; run(['--help'])", {"numpy", "tensorflow", "pydantic", "tinsmith.convert"}),
        ("from tinsmith.__main__ import run; run(['formats', '-q'])", {"tensorflow", "onnx", "keras"}),
        ("from tinsmith.__main__ import run; run(['recipe', 'list'])", {"tensorflow", "onnx", "keras"}),
    ],
)
def test_light_things_stay_light(code, absent):
    loaded = set(fresh(f"import sys, io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()):\n    "
                       f"{code.replace('; ', chr(10) + '    ')}\nprint(*sys.modules)"))  # fmt: skip

    assert not absent & loaded
    assert not {"compress", "convert", "runtime", "devices"} & loaded, "a bare name makes a second copy"


def test_importing_any_module_does_no_work(tmp_path):
    modules = [
        "tinsmith." + ".".join(p.relative_to(ROOT).with_suffix("").parts) for p in sources() if p.stem != "__init__"
    ]
    code = (
        "import importlib, logging, os, random, warnings\n"
        "env, seed = dict(os.environ), random.getstate()\n"
        f"for m in {modules!r}: importlib.import_module(m)\n"
        "assert dict(os.environ) == env, 'environment'\n"
        "assert random.getstate() == seed, 'random'\n"
        "assert not logging.getLogger().handlers, 'logging'\n"
        "import numpy\n"
        "assert not any(m in __import__('sys').modules for m in ('tensorflow', 'onnx', 'onnxruntime')), 'heavy'\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_the_wheel_holds_all_of_the_package_and_nothing_else(tmp_path):
    # setuptools leaves build/ and *.egg-info beside setup.cfg, so it gets a copy
    copy = tmp_path / "copy"
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    for name in filter(None, tracked):
        if name.startswith((".typing", "tests", "docs", "examples", "benchmarks")) or not (ROOT / name).is_file():
            continue
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "-q", "-w", "out"]
    subprocess.run(command, cwd=copy, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})

    (wheel,) = (copy / "out").glob("*.whl")
    held = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}

    data = {"py.typed", "runtime/server/page.html",
            *(str(p.relative_to(ROOT)) for p in ROOT.glob("runtime/profiles/*.toml")),
            *(str(p.relative_to(ROOT)) for p in ROOT.glob("runtime/operators/*.toml")),
            *(str(p.relative_to(ROOT)) for p in ROOT.glob("devices/*/*.sh")),
            *(str(p.relative_to(ROOT)) for p in ROOT.glob("compress/recipes/*.yaml"))}  # fmt: skip
    assert held == {f"tinsmith/{p.relative_to(ROOT)}" for p in sources()} | {f"tinsmith/{name}" for name in data}
