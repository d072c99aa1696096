"""The kernels beside ours: every file of this folder that defines a Sampler with a name. There is no list to edit."""
import importlib
import inspect
import pathlib

from .sampler import Options, Pair, Sampler  # noqa: F401

HELPERS = {"__init__", "sampler"}


def discover() -> dict[str, type]:
    """Sampler classes by name, sorted by file. A file without one is an error, not a sampler less."""
    found = {}
    for file in sorted(pathlib.Path(__file__).parent.glob("*.py")):
        if file.stem in HELPERS:
            continue
        module = importlib.import_module(f"{__name__}.{file.stem}")
        classes = [c for _, c in inspect.getmembers(module, inspect.isclass)
                   if issubclass(c, Sampler) and c.__module__ == module.__name__ and c.name]
        if not classes:
            raise RuntimeError(f"{file.name} defines no Sampler with a name")
        found |= {c.name: c for c in classes}
    return found
