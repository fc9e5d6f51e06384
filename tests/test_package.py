"""What the package as a whole promises: what it ships, what it imports, how fast it answers.

Doesn't cover what the commands do, nor the layers of imports: import-linter holds those.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.slowness import idle_seconds

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "src"
HEAVY_LIBRARIES = {"accelerate", "inspect_ai", "matplotlib", "peft", "torch", "transformers"}
LONGEST_FILE_LINES = 400

# Paths of one machine and addresses of package registries; the brackets keep this line clean.
MACHINE_NAMES = re.compile(
    r"(?<![\w.])/(?:work|root|home|farm|Users)/[\w.]"
    r"|/tmp/[d]ev\b|/opt/(?:wheels|pypi)|[.]library/"
    r"|pypi[.]org|pythonhosted[.]org|npmjs[.]org|deb[.]debian"
)


def run_python(*arguments: str, folder: Path, search_path: Path | None = None) -> str:
    """Run this interpreter in `folder`, with `search_path` before all installed packages."""
    environment = os.environ.copy()
    environment.pop("PYTHONPATH", None)
    if search_path is not None:
        environment["PYTHONPATH"] = str(search_path)
    finished = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def project_files() -> list[Path]:
    """Every file that is in the repository or would be added to it."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode != 0:
        pytest.skip("needs a git checkout")
    files = [REPOSITORY / line for line in listing.stdout.splitlines()]
    return [path for path in files if path.is_file()]


def modules_with_all() -> list[str]:
    """The names of the modules that declare `__all__`."""
    names = []
    for path in sorted(SOURCE.rglob("*.py")):
        targets = [
            target.id
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        ]
        if "__all__" in targets:
            parts = path.relative_to(SOURCE).with_suffix("").parts
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this source tree with what is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    run_python(
        *("-m", "pip", "wheel", "-qq", "--disable-pip-version-check", "--no-deps"),
        *("--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(REPOSITORY)),
        folder=folder,
    )
    (built,) = folder.glob("derta-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside the repository into which the wheel was installed."""
    folder = tmp_path_factory.mktemp("installed") / "site"
    run_python(
        *("-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"),
        *("--no-index", "--target", str(folder), str(wheel)),
        folder=wheel.parent,
    )
    return folder


@pytest.mark.slow
def test_the_wheel_carries_recipes_sample_set_data_card_and_page_assets(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sample = "derta/data/sample"
    for name in ("triples.jsonl", "helpful.jsonl", "DATA_CARD.md"):
        assert f"{sample}/{name}" in names
    for path in SOURCE.rglob("*"):
        if path.suffix in {".yaml", ".css", ".js", ".html", ".typed"}:
            assert path.relative_to(SOURCE).as_posix() in names
    assert any(name.startswith("derta/recipes/") and name.endswith(".yaml") for name in names)
    assert "derta/py.typed" in names


@pytest.mark.slow
def test_the_wheel_leaves_out_question_lists_caches_and_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if "/sources/" in name or "__pycache__" in name]
    assert {name.split("/")[0].split("-")[0] for name in names} == {"derta"}


@pytest.mark.slow
def test_the_installed_wheel_answers_help_outside_the_repository(
    installed: Path, tmp_path: Path
) -> None:
    place = run_python(
        "-c", "import derta.cli; print(derta.cli.__file__)", folder=tmp_path, search_path=installed
    )
    assert Path(place.strip()).is_relative_to(installed)
    text = run_python("-m", "derta", "--help", folder=tmp_path, search_path=installed)
    assert "quickstart" in text
    assert "show" in text
    # The `derta` command that pip made; a folder of packages has it beside them.
    command = str(installed / "bin" / "derta")
    version = run_python(command, "--version", folder=tmp_path, search_path=installed)
    assert version.startswith("derta ")


@pytest.mark.slow
def test_the_installed_wheel_loads_its_recipe_and_sample_set_outside_the_repository(
    installed: Path, tmp_path: Path
) -> None:
    code = """
import derta
from derta.data.sample import sample_helpful, sample_triples
from derta.train.recipe import load_recipe
assert load_recipe("quickstart").method
for split in ("train", "tune", "test"):
    assert sample_triples(split)
    assert sample_helpful(split)
print(derta.__file__)
"""
    place = run_python("-c", code, folder=tmp_path, search_path=installed)
    assert Path(place.strip()).is_relative_to(installed)


def test_help_answers_within_a_second(tmp_path: Path) -> None:
    def seconds_to_help() -> float:
        start = time.perf_counter()
        run_python("-m", "derta", "--help", folder=tmp_path)
        return time.perf_counter() - start

    assert idle_seconds(seconds_to_help) < 1.0  # typically 0.35 s or less


@pytest.mark.parametrize(
    "modules",
    [
        "derta.cli",
        "derta.rows, derta.packing, derta.triple, derta.refusal, derta.errors",
    ],
)
def test_the_command_line_and_the_method_load_no_heavy_library(
    modules: str, tmp_path: Path
) -> None:
    code = f"import json, sys, {modules}; print(json.dumps(list(sys.modules)))"
    loaded = {
        name.partition(".")[0] for name in json.loads(run_python("-c", code, folder=tmp_path))
    }
    assert not loaded & HEAVY_LIBRARIES


@pytest.mark.parametrize("name", modules_with_all())
def test_every_name_in_all_exists(name: str) -> None:
    module = importlib.import_module(name)
    missing = [public for public in module.__all__ if not hasattr(module, public)]
    assert not missing
    assert len(set(module.__all__)) == len(module.__all__)


def test_every_dependency_is_pinned_within_its_range() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {
        canonicalize_name(line.partition("==")[0]): line.partition("==")[2]
        for line in lines
        if line and not line.startswith("#")
    }
    assert all(re.fullmatch(r"[\w.]+", version) for version in pins.values())
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), text


def test_no_source_file_is_too_long_to_read_in_one_sitting() -> None:
    too_long = {
        path.name: lines
        for path in SOURCE.rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_FILE_LINES
    }
    assert not too_long


def test_no_file_of_the_project_names_a_machine_or_a_registry() -> None:
    found = []
    for path in project_files():
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [
            f"{path.relative_to(REPOSITORY)}:{number}: {match.group()}"
            for number, line in enumerate(text.splitlines(), start=1)
            if (match := MACHINE_NAMES.search(line))
        ]
    assert not found
