"""nf4 and fp4 by looking values up as floats: what a plain good kernel does on AVX2. Written for this comparison."""
from drivers.peer import Unavailable

import machine

from .sampler import Pair, Sampler


class FloatLookup(Sampler):
    name = "float_lookup"
    pairs = (
        Pair("decode", "nf4 g64", "nf4 g64", 3.0),
        Pair("decode", "fp4 g64", "fp4 g64", 3.0),
        Pair("decode", "exact nf4 g64", "nf4 g64", None),
    )

    def install(self):
        if not {"avx2", "fma", "f16c"} <= set(machine.cpu()["flags"]):
            raise Unavailable("wants a CPU with AVX2")
        self.compile("-mavx2", "-mfma", "-mf16c", "-fopenmp")
        return "float look-up in AVX2, ours"
