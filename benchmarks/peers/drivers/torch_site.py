"""One torch for all peers that need it, as a folder that their environments see through a .pth file.

PyPI's torch for x86-64 names the CUDA libraries as needed, three gigabytes that a CPU machine never calls. Here torch is installed
without them and beside it stand empty libraries of those names (gcc and readelf make them), or, with `--python`, links to the torch of
an interpreter that has one. Either way the metadata drops the CUDA packages, so that pip takes torch as complete.
"""
import collections
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

CUDA_PACKAGE = re.compile(r"^Requires-Dist: (nvidia|triton|cuda)", re.IGNORECASE)
CUDA_LIBRARY = re.compile(r"^lib(cu|nccl|nvrtc|nvshmem|nvJitLink|nvToolsExt|cupti)")
CUDA_SYMBOL = re.compile(r"^(cu[A-Z]|cuda|cublas|cusparse|cufft|cuFile|cudnn|nccl|nvrtc|nvshmem|cusolver|cupti|curand|nvJitLink|__cuda|nvtx)")
SITE = "import sysconfig, torch; print(sysconfig.get_paths()['purelib'], torch.__version__)"


def output(*command) -> str:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True).stdout


def torch_site(root: pathlib.Path, python: str | None, log) -> pathlib.Path:
    """The folder with torch in it, made once under `root`."""
    site = root / "torch" / "site"
    if (site / "complete").exists():
        return site
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    if python:
        link(site, pathlib.Path(output(python, "-c", SITE).split()[0]))
    else:
        log("torch: 540 MB from PyPI, without its CUDA packages")
        output(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, "torch")
        stand_ins(site / "torch" / "lib")
    for metadata in site.glob("torch-*.dist-info/METADATA"):
        lines = metadata.read_text().splitlines(keepends=True)
        metadata.write_text("".join(line for line in lines if not CUDA_PACKAGE.match(line)))
    (site / "complete").touch()
    return site


def link(site: pathlib.Path, other: pathlib.Path) -> None:
    """Links torch and the libraries it opens; copies the metadata, which is edited."""
    for name in ("torch", "torchgen", "functorch", "nvidia", "triton", "cuda"):
        if (other / name).exists():
            (site / name).symlink_to(other / name)
    for folder in other.glob("torch-*.dist-info"):
        shutil.copytree(folder, site / folder.name)


def stand_ins(folder: pathlib.Path) -> None:
    """Empty libraries for the CUDA ones that torch's own libraries name as needed but never call without a GPU.

    Every undefined CUDA symbol returns 100, cudaErrorNoDevice, which is what torch asks for at its start.
    """
    libraries = [f for f in folder.iterdir() if ".so" in f.name]
    needed, versions, undefined, defined = set(), collections.defaultdict(set), set(), set()
    for library in libraries:
        for match in re.finditer(r"NEEDED.*\[(.+?)\]", output("readelf", "-dW", library)):
            if CUDA_LIBRARY.match(match[1]) and not (folder / match[1]).exists():
                needed.add(match[1])
        current = None
        for line in output("readelf", "-VW", library).splitlines():
            if match := re.search(r"File: (\S+)", line):
                current = match[1]
            elif current and (match := re.search(r"Name: (\S+)\s+Flags", line)):
                versions[current].add(match[1])
        for line in output("readelf", "--dyn-syms", "-W", library).splitlines():
            words = line.split()
            if len(words) >= 8 and words[0].endswith(":"):
                (undefined.add(words[7]) if words[6] == "UND" else defined.add(words[7].split("@")[0]))
    home = {version: library for library, known in versions.items() for version in known}
    symbols = collections.defaultdict(set)
    for symbol in undefined:
        name, _, version = symbol.partition("@")
        version = version.lstrip("@")
        if home.get(version) in needed:
            symbols[home[version]].add((name, version))
        elif not version and CUDA_SYMBOL.match(name) and name not in defined:
            symbols[min(needed)].add((name, ""))
    for library in sorted(needed):
        make_library(folder / library, symbols[library], versions[library])


def make_library(path: pathlib.Path, symbols, versions) -> None:
    texts = ("cudaGetErrorString", "cudaGetErrorName")
    code = "".join(f'const char* {n}(void){{return "no CUDA";}}\n' if n in texts else f"long {n}(void){{return 100;}}\n"
                   for n in sorted({name for name, _ in symbols})) or "static int nothing;\n"
    groups = {version: [] for version in versions}
    for name, version in symbols:
        if version:
            groups.setdefault(version, []).append(name)
    script = "".join(f"{version} {{ global: {' '.join(n + ';' for n in sorted(names))} }};\n" for version, names in groups.items())
    with tempfile.TemporaryDirectory() as folder:
        source, versions_file = pathlib.Path(folder, "s.c"), pathlib.Path(folder, "s.map")
        source.write_text(code)
        versions_file.write_text(script)
        output("gcc", "-shared", "-fPIC", "-O1", "-w", "-fno-builtin", f"-Wl,-soname,{path.name}", "-o", path, source,
               *([f"-Wl,--version-script={versions_file}"] if script else []))
