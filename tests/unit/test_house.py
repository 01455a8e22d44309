"""The rules of the house: ruff, mypy, import contracts, sizes, names, and a README that tells the truth."""

import ast
import importlib.metadata
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from service.__main__ import main
from service.export import open_destination
from service.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = [path for name in ("service", "workers") for path in sorted((ROOT / name).rglob("*.py"))]
EVERYTHING = PACKAGES + [
    path for name in ("deploy", "migrations", "tests") for path in sorted((ROOT / name).rglob("*.py"))
]
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
MODULE_LINES, MODULE_P90, FUNCTION_P90, FUNCTION_MOST, README_LINES = 400, 300, 30, 60, 170


def run(*arguments: str) -> None:
    """Run a tool of this interpreter; its words are the message when it is not content."""
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}{done.stderr}"


def module_name(path: Path) -> str:
    """``service/db/jobs.py`` -> ``service.db.jobs``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> Iterator[str]:
    """Dotted names of all modules a file imports."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def functions() -> Iterator[tuple[str, int]]:
    """Place and number of lines of every function of the packages, without its docstring."""
    for path in PACKAGES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = len((ast.get_docstring(node, clean=False) or "").splitlines())
                lines = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", lines


def test_ruff_check() -> None:
    """Ruff finds nothing with all rules on; each exception has its reason."""
    run("ruff", "check", ".")


def test_ruff_format() -> None:
    """Every file is in ruff's shape."""
    run("ruff", "format", "--check", ".")


@pytest.mark.timeout(600)
def test_mypy() -> None:
    """Mypy is content in strict mode with packages, migrations, deploy and tests."""
    run("mypy")


def test_import_contracts() -> None:
    """No import goes against the arrows."""
    run("importlinter.cli", "lint")


def test_every_module_stands_in_a_layer() -> None:
    """A module that no layer names would escape the arrows."""
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    named = set(re.findall(r"[\w.]+", " ".join(layers)))
    present = {".".join(module_name(path).split(".")[:2]) for path in PACKAGES} - {"service", "workers"}
    assert present <= named


def test_domain_imports_the_standard_library_only() -> None:
    """The domain knows the standard library and itself."""
    foreign = {
        f"{path.name}: {name}"
        for path in (ROOT / "service/domain").glob("*.py")
        for name in imports_of(path)
        if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith("service.domain")
    }
    assert not foreign


def test_fhir_is_r4b() -> None:
    """``fhir.resources`` without R4B is R5, which our peers refuse."""
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in EVERYTHING
        for name in imports_of(path)
        if name.startswith("fhir.resources") and not name.startswith("fhir.resources.R4B")
    }
    assert not wrong


def test_every_import_is_declared() -> None:
    """What the packages import is named in pyproject, so that a fresh machine has it."""
    project = PROJECT["project"]
    extras = (line for name, lines in project["optional-dependencies"].items() if name != "test" for line in lines)
    declared = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in [*project["dependencies"], *extras]}
    declared |= {"billiard", "kombu", "markupsafe", "starlette"}  # parts of Celery, Jinja and FastAPI
    distributions = importlib.metadata.packages_distributions()
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in PACKAGES
        for name in imports_of(path)
        if (top := name.split(".")[0]) not in sys.stdlib_module_names and top not in {"service", "workers"}
        if not {found.lower().replace("_", "-") for found in distributions.get(top, [top])} & declared
    }
    assert not missing


def test_sizes() -> None:
    """No module has more than 400 lines, most have at most 300; most functions have at most 30, none more than 60."""
    modules = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in EVERYTHING}
    assert not {name: lines for name, lines in modules.items() if lines > MODULE_LINES}
    assert statistics.quantiles(modules.values(), n=10)[-1] <= MODULE_P90
    lengths = dict(functions())
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= FUNCTION_P90
    assert not {place: lines for place, lines in lengths.items() if lines > FUNCTION_MOST}


def test_names_say_something() -> None:
    """No module is called utils, common, helpers or manager."""
    assert not [path for path in EVERYTHING if BANNED_NAMES & set(module_name(path).lower().split("."))]


def test_packages_are_two_deep() -> None:
    """A module stands at most two folders deep in its package."""
    assert not [path for path in PACKAGES if len(path.relative_to(ROOT).parts) > 4]


def test_no_file_names_a_place_of_one_machine() -> None:
    """A clone works anywhere: no absolute path of a developer's machine stands in the project."""
    place = re.compile(r"(?<![\w.:/-])/(?:work|home|Users|root|mnt)/[A-Za-z]")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout, so the files of the project are not known")
    texts = [
        ROOT / name
        for name in listed.stdout.split()
        if Path(name).suffix in {".py", ".md", ".toml", ".sh", ".json", ""}
    ]
    found = [
        path.name
        for path in texts
        if path.is_file() and place.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found


# --- README -----------------------------------------------------------------------------------------------------------


def readme_block(language: str) -> list[str]:
    """The fenced blocks of the README in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def settings_rows() -> Iterator[str]:
    """The rows of the table of docs/settings.md as the fields of Settings want them."""
    for section, field in Settings.model_fields.items():
        kind = field.annotation
        many = not (isinstance(kind, type) and issubclass(kind, BaseModel))
        model: Any = kind.__args__[0] if many else kind  # type: ignore[union-attr]  # tuple[Section, ...]
        for key, inner in model.model_fields.items():
            value = inner.get_default()
            shown = (
                "required" if inner.is_required() else f"`{str(value).lower() if isinstance(value, bool) else value}`"
            )
            shown = {"`()`": "none", "``": "none"}.get(shown, shown)
            name = f"[[{section}]] {key}" if many else f"{section}.{key}"
            yield f"| `{name}` | {shown} | {inner.description} |"


def test_readme_fits_on_three_screens() -> None:
    """The README has at most 170 lines, so that it is read."""
    assert len(README.splitlines()) <= README_LINES


def test_readme_map_equals_the_tree() -> None:
    """The map names every module and folder of the packages, and nothing that is not there."""
    (block,) = readme_block("tree")
    named: set[str] = set()
    folder = ""
    for line in block.splitlines():
        words = line.split("  ")[0] if not line.startswith(" ") else line.strip().split("   ")[0]
        if not line.startswith(" "):
            folder = words.split()[0]
            named.add(folder)
        else:
            named |= {folder + word for word in words.split()}
    present = {f"{name}/" for name in ("service", "workers", "migrations", "deploy", "tests", "docs")}
    for package in ("service", "workers"):
        for path in sorted((ROOT / package).iterdir()):
            if path.is_dir() and path.name != "__pycache__":
                present.add(f"{package}/{path.name}/")
            elif path.suffix == ".py" and path.name != "__init__.py":
                present.add(f"{package}/{path.name}")
    assert named == present


def test_settings_table_equals_the_settings() -> None:
    """The table of docs/settings.md has a row for each field, with its default and its description."""
    table = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    rows = [line for line in table.splitlines() if re.match(r"\| `(\[\[)?\w+(\]\])?[ .]\w+` \|", line)]
    expected = list(settings_rows())
    assert rows == expected, "the table must be:\n" + "\n".join(expected)


def test_readme_recipes_name_what_is_there() -> None:
    """The three recipes name folders that exist and lists that stand in them."""
    recipes = re.findall(r"one file in `([\w/]+)/`.*?one line in `(\w+)`\s+\(`([\w/.]+)`\)", README)
    assert {folder for folder, _, _ in recipes} == {"workers/models", "service/results", "service/export"}
    for _, name, place in recipes:
        assert re.search(rf"^{name}\b", (ROOT / place).read_text(encoding="utf-8"), re.MULTILINE), f"{name}: {place}"


def test_readme_commands_exist() -> None:
    """Every `make` target and `dentgate` subcommand that the README names can be run."""
    code = "\n".join([*re.findall(r"`([^`\n]+)`", README), *readme_block("sh")])
    targets = set(re.findall(r"\bmake ([a-z]+)", code))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    commands = set(re.findall(r"\bdentgate ([a-z]+)", code))
    assert commands
    for command in sorted(commands):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0, command


def test_readme_links_lead_somewhere() -> None:
    """Every file that the README links to exists."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert not [link for link in links if not (ROOT / link).exists()]


def test_example_settings_are_accepted() -> None:
    """The example of the settings, which the README tells people to copy, is valid."""
    settings = load_settings(ROOT / "deploy/dentgate.example.toml", environment={})
    assert [open_destination(entry, "DENTGATE") for entry in settings.destination]
