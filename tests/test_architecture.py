"""The package's shape, as docs/architecture.md draws it; each rule is tried on a made-up breach."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ocimlpack"
SOURCES = {
    path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")
}

LAYERS = (
    {"errors", "_version"},
    {"spec"},
    {"progress", "retry"},
    {"stores"},
    {"transfer"},
    {"model"},
    {"cloud"},
    {"app"},
    {"cli"},
    {"__init__", "__main__"},
)
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# Who may import what. A place is a module, or a folder with all that is in it.
IMPORTERS: dict[str, tuple[str, ...]] = {
    "click": ("cli/",),
    "rich": ("cli/",),
    # Threads are started in the pool only; what several of them use at once needs a lock.
    "threading": (
        "transfer/pool.py",
        "transfer/ranges.py",
        "transfer/parts.py",
        "transfer/links.py",
        "transfer/sending.py",
        "stores/_oras.py",
    ),
    "concurrent": ("transfer/pool.py",),
    "multiprocessing": ("transfer/pool.py",),
    "oras": ("stores/_oras.py",),
    "requests": ("stores/_oras.py", "stores/_http.py"),
    "urllib3": ("stores/_oras.py", "stores/_http.py"),
    "filelock": ("stores/",),
    "pathspec": ("model/",),
    "yaml": ("model/",),
    "subprocess": ("stores/credentials.py", "stores/objects/aws_credentials.py"),
    "obstore": ("stores/objects/s3.py",),
    "huggingface_hub": ("stores/_hub.py",),
    "numpy": ("model/values.py",),
    # An import by a computed name escapes these rules: only for loading late, and what is optional.
    # And for the versions of what is installed, which imports nothing.
    "importlib": (
        "__init__.py",
        "app/machine.py",
        "cli/",
        "cloud/_sdk.py",
        "model/readers/table.py",
        "model/zstd.py",
        "stores/deferred.py",
    ),
    "cryptography": ("cloud/_sdk.py",),
    "oci": ("cloud/_sdk.py",),
}
MAX_LINES = 500
SAYS_NOTHING = {"utils", "common", "helpers", "manager"}


def imported(source: str) -> Iterator[str]:
    """Every module or name that is imported anywhere, also in functions and for types only."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (
                f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names
            )


def layer(place: str) -> str:
    return place.removesuffix(".py").partition("/")[0]


def wrong_direction(place: str, source: str) -> list[str]:
    found = []
    for name in imported(source):
        root, _, rest = name.partition(".")
        # What is no layer's name is the package itself, which is on top.
        rank = RANKS.get(rest.partition(".")[0], RANKS["__init__"])
        # A relative import has an empty root: nobody sees in it which layer is meant.
        if not root or (root == "ocimlpack" and rank > RANKS[layer(place)]):
            found.append(name)
    return found


def foreign(place: str, source: str) -> list[str]:
    roots = {name.partition(".")[0] for name in imported(source)}
    return sorted(
        root for root in roots & IMPORTERS.keys() if not place.startswith(IMPORTERS[root])
    )


def prints(place: str, source: str) -> list[int]:
    if place == "cli/render.py":
        return []
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name) and node.id == "print"
    ]


def too_long(source: str) -> bool:
    return len(source.splitlines()) > MAX_LINES


def says_nothing(place: str) -> bool:
    return not SAYS_NOTHING.isdisjoint(place.removesuffix(".py").split("/"))


modules = pytest.mark.parametrize("place", sorted(SOURCES))


def test_every_part_of_the_package_has_its_layer() -> None:
    assert {layer(place) for place in SOURCES} <= RANKS.keys()
    assert len(SOURCES) > len(LAYERS)


@modules
def test_imports_point_down(place: str) -> None:
    assert wrong_direction(place, SOURCES[place]) == []


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("spec/x.py", "import ocimlpack.stores.base"),
        ("spec/x.py", "from ocimlpack.stores import base"),
        ("spec/x.py", "from ocimlpack import stores"),
        ("spec/x.py", "import ocimlpack"),
        ("spec/x.py", "from ocimlpack import __version__"),
        ("errors.py", "from ocimlpack.spec.digest import Digest"),
        ("retry.py", "from ocimlpack import stores"),
        ("stores/x.py", "def f():\n    from ocimlpack.transfer import copy"),
        ("app/x.py", "if TYPE_CHECKING:\n    from ocimlpack.cli.main import run"),
        ("model/x.py", "from ocimlpack.app.moving import push"),
        ("cli/x.py", "import ocimlpack.__main__"),
        ("stores/x.py", "from . import base"),
        ("stores/x.py", "from ..cli import main"),
    ],
)
def test_an_import_that_points_up_is_seen(place: str, source: str) -> None:
    assert wrong_direction(place, source)


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("stores/x.py", "from ocimlpack.stores import base\nfrom ocimlpack import errors, retry"),
        ("cli/x.py", "from ocimlpack.app import moving\nimport ocimlpack.spec.digest"),
        ("__main__.py", "from ocimlpack.cli.main import run"),
        ("errors.py", "import ocimlpackage"),
    ],
)
def test_an_import_that_points_down_is_fine(place: str, source: str) -> None:
    assert wrong_direction(place, source) == []


@modules
def test_each_foreign_library_stays_in_its_place(place: str) -> None:
    assert foreign(place, SOURCES[place]) == []


@pytest.mark.parametrize("library", sorted(IMPORTERS))
@pytest.mark.parametrize(
    "form", ["import {}", "import {}.x as y", "from {} import z", "from {}.x import z"]
)
def test_a_foreign_library_elsewhere_is_seen(library: str, form: str) -> None:
    source = f"def f():\n    {form.format(library)}"
    assert foreign("app/x.py", source) == [library]
    for place in IMPORTERS[library]:
        assert foreign(place + "x.py" if place.endswith("/") else place, source) == []


def test_every_permission_is_for_a_place_that_is_there() -> None:
    for places in IMPORTERS.values():
        for place in places:
            assert any(source.startswith(place) for source in SOURCES), place


@modules
def test_nothing_prints_but_the_renderer(place: str) -> None:
    assert prints(place, SOURCES[place]) == []


@pytest.mark.parametrize("source", ["def f():\n    print(1)", "say = print"])
def test_a_print_is_seen(source: str) -> None:
    assert prints("app/x.py", source)
    assert not prints("cli/render.py", source)
    assert not prints("app/x.py", "eprint(1)\nx.print(1)")


@modules
def test_modules_are_short_and_named_for_what_they_hold(place: str) -> None:
    assert not too_long(SOURCES[place])
    assert not says_nothing(place)


def test_long_modules_and_empty_names_are_seen() -> None:
    assert too_long("x\n" * 501)
    assert not too_long("x\n" * 500)
    assert says_nothing("stores/utils.py")
    assert says_nothing("helpers/x.py")
    assert not says_nothing("model/commons.py")
