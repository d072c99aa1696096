"""OpenBLAS with its own threads, as Debian packages it."""
import pathlib
import subprocess

from drivers.peer import Unavailable

from .sampler import Pair, Sampler

PACKAGE = "libopenblas-pthread-dev"


class OpenBlas(Sampler):
    name = "openblas"
    pairs = (
        Pair("decode", "f32", "f32", None),
        Pair("prefill", "f32", "f32", 0.9),
        Pair("prefill", "f16", "f32", 0.9),
    )

    def install(self):
        asked = subprocess.run(["dpkg-query", "-L", PACKAGE], capture_output=True, text=True)
        files = [pathlib.Path(line) for line in asked.stdout.splitlines()]
        library = next((f for f in files if f.name == "libopenblas.so"), None)
        header = next((f for f in files if f.name == "cblas.h"), None)
        if not library or not header:
            raise Unavailable(f"Debian's {PACKAGE} is not installed")
        self.compile("-I", header.parent, library, f"-Wl,-rpath,{library.parent}")
        version = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", PACKAGE], capture_output=True, text=True).stdout
        return f"OpenBLAS {version}"
