"""What stands beside our kernels. A file beside this one that defines a subclass of Sampler is one; kernels.py drives all of them alike.

    class Mine(Sampler):
        name = "mine"
        pairs = (Pair("decode", "W4 g32", "Q4", 2.0),)      # what it is compared in: ours, its own, the wanted ratio
        def install(self): ...                              # makes self.program(); returns what it is, with its version

The program speaks the protocol of serve.h. Its code is ours and calls the peer's public interface; the peer's code stays outside.
"""
import dataclasses
import os
import pathlib
import subprocess

from drivers.peer import Unavailable, last_words
from drivers.process import first_cpus, threads_environment
from drivers.worker import Worker

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent.parent
SHAPES = {"decode": ((4096, 11008),), "prefill": ((2048, 2048), (4096, 11008))}     # N x K
# Left to themselves these would say which kernel OpenBLAS takes, and how it blocks.
OVERRIDES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two kernels at one shape: ours by its name in kernel_bench (without gemv or gemm), the peer's by its own name."""
    op: str                 # decode (one row of activations) or prefill
    ours: str
    case: str
    target: float | None    # of the ratio of their times, above 1 where ours is faster; None: for information


@dataclasses.dataclass
class Options:
    root: pathlib.Path
    kernel_bench: pathlib.Path
    isa: str = ""
    log: object = print


class Sampler:
    name = ""
    is_ours = False
    pairs: tuple[Pair, ...] = ()

    def __init__(self, options: Options):
        self.options = options
        self.root = (options.root / "kernels").resolve()

    def install(self) -> str:
        """Builds the program, once; returns what it runs, with its version. Unavailable says why not."""
        raise NotImplementedError

    def command(self, threads: int) -> list[str]:
        return [str(self.root / self.name), str(threads)]

    def environment(self, threads: int) -> dict[str, str]:
        """Each thread stays on a core of its own, where OpenMP has the say."""
        return {**{k: v for k, v in threads_environment(threads).items() if k not in OVERRIDES}, "OMP_PROC_BIND": "true",
                "OMP_PLACES": ",".join(f"{{{cpu}}}" for cpu in sorted(first_cpus(threads)))}

    def start(self, threads: int) -> Worker:
        self.root.mkdir(parents=True, exist_ok=True)
        return Worker(self.command(threads), threads, self.root, self.root / f"{self.name}-{threads}.log", self.environment(threads))

    def compile(self, *flags) -> None:
        """NAME.cc beside this file -> the program; made again when the source is newer."""
        source, program = HERE / f"{self.name}.cc", self.root / self.name
        newest = max(f.stat().st_mtime for f in (source, HERE / "serve.h"))
        if program.exists() and program.stat().st_mtime > newest:
            return
        self.root.mkdir(parents=True, exist_ok=True)
        self.options.log(f"{self.name}: compiling")
        command = [os.environ.get("CXX", "c++"), "-std=c++20", "-O3", "-DNDEBUG", "-I", str(REPOSITORY), str(source), "-o", str(program), *map(str, flags)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(f"{source.name}: {last_words(done.stderr)}")
