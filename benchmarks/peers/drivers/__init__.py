"""The peers: every file of this folder that defines a Peer with a name. There is no list to edit."""
import importlib
import inspect
import pathlib

from .peer import MEASURES, Options, Peer, Sample, Source, Unavailable, Variant  # noqa: F401

HELPERS = {"__init__", "peer", "process", "quantizer", "torch_site", "worker"}


def discover() -> dict[str, type]:
    """Peer classes by name, sorted by file. A file without one is an error, not a peer less."""
    found = {}
    for file in sorted(pathlib.Path(__file__).parent.glob("*.py")):
        if file.stem in HELPERS:
            continue
        module = importlib.import_module(f"{__name__}.{file.stem}")
        classes = [c for _, c in inspect.getmembers(module, inspect.isclass)
                   if issubclass(c, Peer) and c.__module__ == module.__name__ and c.name]
        if not classes:
            raise RuntimeError(f"{file.name} defines no Peer with a name")
        found |= {c.name: c for c in classes}
    return found
