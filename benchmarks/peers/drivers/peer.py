"""What a peer of Halftone is. A file beside this one that defines a subclass of Peer is a peer; bench.py drives all of them alike.

    class Mine(Peer):
        name = "mine"
        packages = ("mine-runtime",)
        def variants(self, source): ...     # files made once from the dense Hugging Face folder
        def speed(self, variant, threads, prefill, decode): ...

A method of a measure (`speed`, `first_token`, `perplexity`, `quantize`) that is not overridden is a measure this peer does not have.
Whatever cannot be raises Unavailable with the reason, which the table shows.
"""
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time

from . import torch_site
from .process import Usage, run, threads_environment
from .worker import Worker

MEASURES = ("speed", "first-token", "perplexity", "quantize")


class Unavailable(Exception):
    """This peer, variant or measure cannot be had here; the message says why and stands in the table."""


@dataclasses.dataclass(frozen=True)
class Source:
    """The dense Hugging Face folder that every program's variants are made from."""
    path: pathlib.Path
    parameters: int                 # tied weights counted once
    row_lengths: tuple[int, ...]    # distinct input widths of the linear layers
    vocabulary: int
    bos: int

    @staticmethod
    def read(path: pathlib.Path) -> "Source":
        config = json.loads((path / "config.json").read_text())
        parameters, rows = 0, set()
        for file in sorted(path.glob("*.safetensors")):
            with open(file, "rb") as f:
                header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
            for name, tensor in header.items():
                if name == "__metadata__":
                    continue
                count = 1
                for n in tensor["shape"]:
                    count *= n
                parameters += count
                if len(tensor["shape"]) == 2:
                    rows.add(tensor["shape"][1])
        if not parameters:
            raise SystemExit(f"bench.py: {path} holds no .safetensors file")
        bos = config.get("bos_token_id")
        return Source(path.resolve(), parameters, tuple(sorted(rows)), config["vocab_size"], bos if isinstance(bos, int) else 1)

    def ids(self, count: int) -> list[int]:
        """`count` token ids that are the same for all, spread over the vocabulary by a multiplicative generator."""
        state, ids = 1, []
        for _ in range(count):
            state = state * 48271 % 2147483647
            ids.append(state % self.vocabulary)
        return ids


@dataclasses.dataclass(frozen=True)
class Variant:
    """A program's model file or folder at one number of bits."""
    name: str
    path: pathlib.Path
    weight_bytes: int   # of what holds the weights, on disk
    bits: float         # 8 * weight_bytes / parameters of the source


@dataclasses.dataclass
class Sample:
    """Figures by name ("prefill", "decode" in tokens/s, "first_token_s", ...) and what the program used to get them."""
    values: dict[str, float]
    usage: Usage


@dataclasses.dataclass
class Options:
    """What bench.py hands to every driver."""
    root: pathlib.Path
    python: str | None = None           # has torch
    halftone: pathlib.Path | None = None
    ours: tuple[pathlib.Path, ...] = ()
    data: pathlib.Path | None = None    # holds wikitext2/test.txt
    keep_bytes: int = 4 << 30           # resident memory of idle workers before they are closed
    recipe: str = "gptq_int4_g64"
    log: object = print


class Peer:
    name = ""
    packages: tuple[str, ...] = ()      # for pip
    needs_torch = False
    is_ours = False
    measures: tuple[str, ...] = ("speed",)

    def __init__(self, options: Options):
        self.options = options
        self.root = (options.root / self.name).resolve()
        self.workers: dict[tuple, Worker] = {}

    # --- what a peer says of itself
    def install(self) -> str:
        """Installs into self.root, once; returns what was installed, with versions."""
        return self.pip_install(self.packages)

    def variants(self, source: Source) -> list[Variant]:
        raise NotImplementedError

    def speed(self, variant: Variant, source: Source, threads: int, prefill: int, decode: int) -> Sample:
        """values: prefill, decode. `prefill` tokens at once into an empty cache, then `decode` one by one from an empty cache."""
        return self.ask(variant, threads, {"what": "speed", "ids": source.ids(prefill), "bos": source.bos, "decode": decode})

    def first_token(self, variant: Variant, source: Source, threads: int, prompt: int) -> Sample:
        """values: first_token_s, from the start of a process to the first token after `prompt` tokens."""
        start = time.monotonic()
        worker = self.start_worker(variant, threads)
        try:
            sample = self.sample(worker, {"what": "first_token", "ids": source.ids(prompt)})
            worker.usage_since_start(sample.usage)
            return Sample({"first_token_s": time.monotonic() - start}, sample.usage)
        finally:
            worker.close()

    def perplexity(self, variant: Variant, source: Source, threads: int, windows: int) -> Sample:
        """values: perplexity_tok_s, perplexity; WikiText-2 test, `windows` windows of 2048 tokens."""
        raise Unavailable("has no perplexity program")

    def quantize(self, source: Source, threads: int, samples: int, length: int) -> Sample:
        """values: quantize_s. GPTQ, 4 bits in groups of 64, `samples` of `length` tokens."""
        raise Unavailable("has no GPTQ")

    # --- what most of them need
    def log(self, text: str) -> None:
        self.options.log(f"{self.name}: {text}")

    @property
    def python(self) -> pathlib.Path:
        return self.root / "venv" / "bin" / "python"

    def make_venv(self) -> None:
        """An environment of its own; with the shared torch in sight when needs_torch."""
        if not self.python.exists():
            self.run([sys.executable, "-m", "venv", self.root / "venv"])
        if self.needs_torch:
            site = torch_site.torch_site(self.options.root, self.options.python, self.options.log).resolve()
            packages = next((self.root / "venv" / "lib").glob("python3*/site-packages"))
            (packages / "peers_torch.pth").write_text(f"{site}\n")

    def pip_install(self, packages, *flags: str) -> str:
        done = self.root / "installed.txt"
        if not done.exists():
            self.make_venv()
            self.log(f"pip install {' '.join(packages)}")
            torch = ["torch"] if self.needs_torch else []       # is in sight already; named so that pip brings what it needs
            self.run([self.python, "-m", "pip", "install", "-q", *flags, *packages, *torch])
            done.write_text(self.versions(packages) + "\n")
        return done.read_text().strip()

    def versions(self, packages) -> str:
        names = [p.split("=")[0].split("<")[0].split(">")[0] for p in packages]
        code = "import importlib.metadata as m, sys; print(', '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
        return self.run([self.python, "-c", code, *names]).strip()

    def run(self, command, **more) -> str:
        """Output of a command that installs or prepares; Unavailable with its last words when it fails."""
        self.root.mkdir(parents=True, exist_ok=True)
        command = [str(c) for c in command]
        done = subprocess.run(command, capture_output=True, text=True, **more)
        with open(self.root / "log.txt", "a") as log:
            log.write(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}\n")
        if done.returncode:
            raise Unavailable(f"{pathlib.Path(command[0]).name} {' '.join(command[1:4])}: {last_words(done.stdout + done.stderr)}")
        return done.stdout

    def measured(self, command, threads: int, **more) -> tuple[str, Usage]:
        """Output and usage of a program pinned to the first `threads` CPUs."""
        status, out, err, usage = run([str(c) for c in command], threads, **more)
        if status:
            raise Unavailable(f"{pathlib.Path(str(command[0])).name}: {last_words(err or out) or f'ended with {status}'}")
        return out, usage

    def variant(self, name: str, path: pathlib.Path, source: Source, patterns=("*",)) -> Variant:
        """A variant with the bytes of its weights counted on disk: the file, or the files of the folder that match."""
        files = [path] if path.is_file() else [f for p in patterns for f in sorted(path.glob(p)) if f.is_file()]
        total = sum(f.stat().st_size for f in files)
        return Variant(name, path, total, 8 * total / source.parameters)

    def converted(self, source: Source, kinds, patterns, command) -> list[Variant]:
        """A folder for each kind, made once by `command(kind, out)`; `patterns` are its files of weights."""
        found = []
        for kind in kinds:
            folder = folder_or_file(self.root / "models" / f"{source.path.name}-{kind}", lambda out: self.run(command(kind, out)))
            found.append(self.variant(kind, folder, source, patterns))
        return found

    # --- Python peers: a process of their own for each variant and number of threads, idle between samples
    def start_worker(self, variant: Variant, threads: int) -> Worker:
        return Worker([str(self.python), "-m", type(self).__module__, "worker", str(variant.path), variant.name, str(threads)], threads,
                      pathlib.Path(__file__).resolve().parent.parent, self.root / f"worker-{variant.name}-{threads}.log", threads_environment(threads))

    def sample(self, worker: Worker, request: dict) -> Sample:
        answer, usage = worker.ask(request)
        if "error" in answer:
            raise Unavailable(answer["error"])
        return Sample(answer["values"], usage)

    def ask(self, variant: Variant, threads: int, request: dict) -> Sample:
        key = (variant.name, threads)
        try:
            if key not in self.workers:
                self.close_workers(above=self.options.keep_bytes)
                self.workers[key] = self.start_worker(variant, threads)
                self.sample(self.workers[key], {"what": "load"})
                self.sample(self.workers[key], {**request, "decode": 2})    # warms up, outside the sample
            return self.sample(self.workers[key], request)
        except Unavailable:
            self.workers.pop(key).close()
            raise

    def close_workers(self, above: int = -1) -> None:
        if sum(w.resident() for w in self.workers.values()) > above:
            for worker in self.workers.values():
                worker.close()
            self.workers.clear()


def last_words(text: str) -> str:
    """The line that says why: the last that names an error, or the last at all."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() and not line.startswith("[end of")]
    return (errors or lines or [""])[-1][:300]


def folder_or_file(path: pathlib.Path, make) -> pathlib.Path:
    """`path`, made by `make(temporary path)` and renamed when whole, unless it is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".part")
        subprocess.run(["rm", "-rf", str(temporary)], check=True)
        make(temporary)
        os.rename(temporary, path)
    return path
