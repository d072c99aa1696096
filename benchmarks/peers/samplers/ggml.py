"""ggml's ggml_mul_mat on its CPU backend, from the libraries that the driver of llama.cpp builds."""
import drivers
from drivers.llama_cpp import LlamaCpp

from .sampler import Pair, Sampler


class Ggml(Sampler):
    name = "ggml"
    pairs = (
        Pair("decode", "W4 g32", "Q4_0", 2.0),
        Pair("decode", "W4 g32", "Q4_K", None),
        Pair("decode", "W8 g32", "Q8_0", 1.2),
        Pair("decode", "f16", "F16", 1.0),
        Pair("decode", "f32", "F32", 1.0),
        Pair("decode", "W3 g32", "Q3_K", 1.5),
        Pair("decode", "W2 g32", "Q2_K", 2.0),
        Pair("decode", "W2 g32 zeros", "Q2_K", 2.0),
        Pair("decode", "nf4 g32", "IQ4_NL", None),
        Pair("decode", "fp4 g64", "MXFP4", None),
        Pair("prefill", "W4 g32", "Q4_0", 2.0),
        Pair("prefill", "W4 g32/256", "Q4_0", 2.0),
        Pair("prefill", "W8 g32", "Q8_0", 1.3),
        Pair("prefill", "nf4 g64", "Q8_0", 1.3),
    )

    def __init__(self, options):
        super().__init__(options)
        self.driver = LlamaCpp(drivers.Options(root=options.root, log=options.log))

    def install(self):
        version = self.driver.install_ggml()
        headers, libraries = self.driver.source_folder / "ggml" / "include", self.driver.bin
        self.compile("-I", headers, "-L", libraries, "-lggml", "-lggml-cpu", "-lggml-base", f"-Wl,-rpath,{libraries}")
        return version
