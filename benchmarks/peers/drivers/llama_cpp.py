"""llama.cpp, built with native flags from the source package of llama-cpp-python; its own llama-bench and llama-perplexity measure."""
import json
import os
import pathlib
import re
import tarfile

from .peer import Peer, Sample, Source, Unavailable, Variant, folder_or_file
from .process import threads_environment

PACKAGE = "llama-cpp-python==0.3.36"
TARGETS = ("llama-bench", "llama-quantize", "llama-perplexity")
CONFIGURE = ("-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF",
             "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF")
# GCC's <immintrin.h> (seen with 12) tells the optimizer that ldtilecfg reads 8 of its 64 bytes and that tileloadd reads none, so stores
# that only they read are removed: the AMX path of ggml then dies of SIGILL or SIGSEGV in every quantized prompt. These say what is read.
AMX_HEADER = """#pragma once
#if defined(__AMX_TILE__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#undef _tile_loadconfig
#undef _tile_loadd
#undef _tile_stream_loadd
#define _tile_loadconfig(config) __asm__ volatile("ldtilecfg\\t%0" ::"m"(*(const char(*)[64])(const void*)(config)) : "memory")
#define _tile_loadd(tile, base, stride) amx_load(tileloadd, tile, base, stride)
#define _tile_stream_loadd(tile, base, stride) amx_load(tileloaddt1, tile, base, stride)
#define amx_load(name, tile, base, stride) \\
  __asm__ volatile(#name "\\t(%0,%1,1), %%tmm" #tile ::"r"((const void*)(base)), "r"((long)(stride)) : "memory")
#endif
"""
WINDOW = 2048
TYPES = ("F16", "Q8_0", "Q4_0")
K_TYPES = ("Q4_K", "Q3_K", "Q2_K")      # only for rows of 256: elsewhere llama-quantize silently takes another type


class LlamaCpp(Peer):
    name = "llama.cpp"
    needs_torch = True
    measures = ("speed", "first-token", "perplexity")

    @property
    def source_folder(self) -> pathlib.Path:
        found = sorted(self.root.glob("llama_cpp_python-*/vendor/llama.cpp"))
        return found[0] if found else self.root / "llama_cpp_python" / "vendor" / "llama.cpp"

    @property
    def bin(self) -> pathlib.Path:
        return self.source_folder / "build" / "bin"

    def install(self) -> str:
        self.build(TARGETS, TARGETS)
        return PACKAGE.replace("==", " ")

    def install_ggml(self) -> str:
        """Only the libraries of ggml, for kernels.py."""
        self.build(("ggml",), ("libggml.so", "libggml-cpu.so"))
        return f"ggml of {PACKAGE.replace('==', ' ')}"

    def build(self, targets, files) -> None:
        if not all((self.bin / f).exists() for f in files):
            self.fetch()
            self.mend_amx()
            self.configure()
            self.log("building; all of it takes about ten minutes of two cores")
            self.run(["cmake", "--build", self.source_folder / "build", "--target", *targets])

    def fetch(self) -> None:
        if self.source_folder.exists():
            return
        sdist = self.root / "sdist"
        if not list(sdist.glob("*.tar.gz")):
            self.make_venv()
            self.run([self.python, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", PACKAGE.split("=")[0], PACKAGE, "-d", sdist])
        with tarfile.open(next(sdist.glob("*.tar.gz"))) as tar:
            tar.extractall(self.root, filter="data")

    def mend_amx(self) -> None:
        """Gives the file with the tile instructions the header above. https://github.com/ggml-org/llama.cpp/pull/26954 tells of the same crash."""
        file = self.source_folder / "ggml" / "src" / "ggml-cpu" / "amx" / "mmq.cpp"
        text = file.read_text()
        if "amx_operands.h" in text:
            return
        if '#include "amx.h"\n' not in text:
            raise Unavailable(f"{file.name} is not the file that the AMX correction was written for")
        file.with_name("amx_operands.h").write_text(AMX_HEADER)
        file.write_text(text.replace('#include "amx.h"\n', '#include "amx.h"\n#include "amx_operands.h"\n', 1))

    def configure(self) -> None:
        self.run(["cmake", "-S", self.source_folder, "-B", self.source_folder / "build", *CONFIGURE])

    def converter(self) -> str:
        """An interpreter with what convert_hf_to_gguf.py imports: the given one, or an environment made for it."""
        if self.options.python:
            return self.options.python
        self.pip_install(("transformers", "sentencepiece", "protobuf", "numpy"))
        return str(self.python)

    def variants(self, source: Source) -> list[Variant]:
        folder = self.root / "models"
        dense = folder / f"{source.path.name}-F16.gguf"
        if not dense.exists():
            self.log(f"converting {source.path.name} to GGUF")
            folder_or_file(dense, lambda out: self.run([self.converter(), self.source_folder / "convert_hf_to_gguf.py", source.path, "--outtype", "f16",
                                                        "--outfile", out], cwd=self.source_folder))
        names = TYPES + (K_TYPES if all(n % 256 == 0 for n in source.row_lengths) else ())
        found = []
        for name in names:
            file = folder / f"{source.path.name}-{name}.gguf"
            folder_or_file(file, lambda out: self.run([self.bin / "llama-quantize", dense, out, name], env=self.environment(os.cpu_count() or 1)))
            found.append(self.variant(name, file, source))
        return found

    def environment(self, threads: int) -> dict[str, str]:
        """A build that was moved finds its own libraries, and not those of where it was made."""
        return {**threads_environment(threads), "LD_LIBRARY_PATH": str(self.bin)}

    def bench(self, variant: Variant, threads: int, *arguments) -> tuple[list[dict], "Sample"]:
        out, usage = self.measured([self.bin / "llama-bench", "-m", variant.path, "-t", threads, "-r", 1, "-o", "json", *arguments], threads,
                                   env=self.environment(threads))
        return json.loads(out), usage

    def speed(self, variant, source, threads, prefill, decode) -> Sample:
        rows, usage = self.bench(variant, threads, "-p", prefill, "-n", decode)
        rate = {("prefill" if row["n_prompt"] else "decode"): row["avg_ts"] for row in rows}
        return Sample(rate, usage)

    def first_token(self, variant, source, threads, prompt) -> Sample:
        """The whole life of llama-bench with one prompt and no warm-up: load, the prompt, end."""
        _, usage = self.bench(variant, threads, "-p", prompt, "-n", 0, "--no-warmup")
        return Sample({"first_token_s": usage.wall_s}, usage)

    def perplexity(self, variant, source, threads, windows) -> Sample:
        """The clock of its log from the first window to the estimate, without load and tokenizing. It scores only the second half of each
        window, so its value is not comparable."""
        if not self.options.data:
            raise Unavailable("needs --data, a folder with wikitext2/test.txt")
        text = self.options.data / "wikitext2" / "test.txt"
        status_out, usage = self.measured(["bash", "-c", 'exec "$0" "$@" 2>&1', self.bin / "llama-perplexity", "-m", variant.path, "-f", text, "-c", WINDOW, "-b", WINDOW,
                                           "--chunks", windows, "-t", threads], threads, env=self.environment(threads))
        start, _ = stamped(status_out, r"perplexity: calculating perplexity over")
        end, value = stamped(status_out, r"Final estimate: PPL = ([\d.]+)")
        return Sample({"perplexity": float(value), "perplexity_tok_s": windows * WINDOW / (end - start)}, usage)


def stamped(text: str, pattern: str) -> tuple[float, str]:
    """Seconds of the log line (minutes.seconds.milliseconds.microseconds) that holds the pattern, and the pattern's group."""
    found = re.search(r"^(\d+)\.(\d\d)\.(\d{3})\.(\d{3}) .*?" + pattern, text, re.MULTILINE)
    if not found:
        raise Unavailable(f"llama-perplexity printed no line with {pattern}")
    minutes, seconds, milliseconds, microseconds = map(int, found.groups()[:4])
    return 60 * minutes + seconds + milliseconds / 1e3 + microseconds / 1e6, found.groups()[4] if found.lastindex > 4 else ""
