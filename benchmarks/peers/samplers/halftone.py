"""Ours: kernel_bench --serve."""
import os

from drivers.peer import Unavailable

from .sampler import Sampler


class Halftone(Sampler):
    name = "halftone"
    is_ours = True

    def install(self):
        if not os.access(self.options.kernel_bench, os.X_OK):
            raise Unavailable(f"{self.options.kernel_bench} is not there: build its target, or name it with --kernel-bench")
        return "kernel_bench"

    def command(self, threads):
        return [str(self.options.kernel_bench), "--serve", "--threads", str(threads), *(["--isa", self.options.isa] if self.options.isa else [])]
