"""GPTQModel: GPTQ with 4 bits in groups of 64 on the CPU. Only its quantization is timed; its CPU kernels need what CPUs here do not all have."""
from .quantizer import BITS, GROUP, QuantizerPeer, main

PACKAGE = "gptqmodel==7.7.0"


class GptqModel(QuantizerPeer):
    name = "gptqmodel"
    packages = (PACKAGE,)

    def install(self):
        """From its source package, without isolation: the build would otherwise fetch a torch of its own."""
        if not (self.root / "installed.txt").exists():
            self.make_venv()
            self.log(f"pip install {PACKAGE}, from source")
            pip = [self.python, "-m", "pip", "install", "-q"]
            self.run([*pip, "-U", "setuptools", "wheel", "ninja", "packaging", "numpy"])
            self.run([*pip, "--no-deps", "--no-build-isolation", PACKAGE], env=self.build_environment())
        return self.pip_install(self.packages, "--no-build-isolation")

    def build_environment(self):
        import os
        return {**os.environ, "BUILD_CUDA_EXT": "0", "CUDA_VISIBLE_DEVICES": ""}


def quantize(model, out, samples):
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig
    loaded = GPTQModel.load(model, QuantizeConfig(bits=BITS, group_size=GROUP, desc_act=False), device="cpu", dtype=torch.float32)
    loaded.quantize([{"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.int64)} for ids in samples], batch_size=1)
    loaded.save(out)


if __name__ == "__main__":
    main(quantize)
