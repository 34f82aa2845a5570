"""The rooms of the house and the ways between them: ``python tests/test_layout.py`` prints the graph."""

from __future__ import annotations

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("featcache", "heads")
# What stands in no room: the two faces, and what every room may use.
OUTSIDE = {"featcache", "heads", "featcache.errors", "featcache.spec", "featcache.version"}


def room(module: str) -> str:
    """The package that a module of ours stands in; its own name where it stands in none."""
    return module if module in OUTSIDE else ".".join(module.split(".")[:2])


def ways() -> dict[str, set[str]]:
    """Each room with the rooms that it imports from, late imports and those for types alone included."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=False, cache_dir=None)
    between: dict[str, set[str]] = {room(module): set() for module in graph.modules}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            if room(imported) != room(module):
                between[room(module)].add(room(imported))
    return between


def floors(between: dict[str, set[str]]) -> dict[str, int]:
    """Each room with its floor: one above the highest of those that it imports from."""
    height: dict[str, int] = {}
    for name in TopologicalSorter(between).static_order():  # raises CycleError where there is a circle
        height[name] = 1 + max((height[below] for below in between[name]), default=0)
    return height


def drawn() -> str:
    """The graph as text: floor, room, modules, what it imports from."""
    between = ways()
    height = floors(between)
    modules = grimp.build_graph(*PACKAGES, cache_dir=None).modules
    lines = []
    for name in sorted(between, key=lambda one: (-height[one], one)):
        count = sum(room(module) == name and module != name for module in modules) or 1
        lines.append(f"{height[name]:>3}  {name:<22} {count:>2}  {', '.join(sorted(between[name])) or '-'}")
    return "\n".join(lines)


def test_every_module_stands_in_a_room():
    for package in PACKAGES:
        flat = {f"{package}.{path.stem}" for path in (ROOT / package).glob("*.py")} - {f"{package}.__init__"}
        assert flat <= OUTSIDE
        for path in (ROOT / package).rglob("*.py"):
            assert len(path.relative_to(ROOT).parts) <= 3, f"{path} is a room in a room"


def test_the_ways_run_one_way():
    between = ways()
    floors(between)
    for name, below in between.items():
        assert name.startswith("heads") or not [one for one in below if one.startswith("heads")], name
    assert between["featcache.system"] == {"featcache.errors"}
    for commands in ("featcache.commands", "heads.commands"):
        assert {name for name, below in between.items() if commands in below} <= {"heads.commands"}


def test_no_import_hides_from_the_graph():
    """Modules are named in import statements alone; :mod:`featcache.system.lazy_names` loads what the faces list."""
    for path in [p for package in PACKAGES for p in (ROOT / package).rglob("*.py")]:
        called = {
            getattr(node.func, "attr", getattr(node.func, "id", ""))
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
        }
        assert not called & {"import_module", "__import__"} or path.stem == "lazy_names", path


def test_no_room_is_called_like_what_a_face_offers():
    import featcache
    import heads

    for face in (featcache, heads):
        rooms = {path.parent.name for path in (ROOT / face.__name__).glob("*/__init__.py")}
        assert not rooms & set(face.__all__)
        for name in face.__all__:
            assert getattr(face, name).__name__ == name


def test_the_architecture_page_shows_this_graph():
    assert drawn() in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.stdout.write(drawn() + "\n")
