#!/usr/bin/env python3
"""Does a compressed-tensors folder hold the weights it should? Asks the compressed-tensors package and transformers.

  python3 tests/tools/verify_packed.py FOLDER DEQUANTIZED [--tolerance T] [--no-model]

FOLDER       a packed model (config.json with quantization_config, *.safetensors)
DEQUANTIZED  a safetensors file of the weights in float, by Hugging Face names (NAME.weight, biases, norms)
Every tensor is compared: decompressed module by module by the package's compressor for that module's scheme (scales widened to
float32 first, so equal means equal), and, unless --no-model, as the parameter of the model that transformers loads. There are two ways to load:
dequantize=True (rounds to the dtype of the scales: compared after the same rounding) and the default (kept packed, decompressed after). Each of
them fails on some of what the package itself writes (5.23: the first on mixed-precision, the second on packed zero points), so one must work.
Exit code 0: all equal within T (default 0); 1: a difference, a missing or a spare tensor; 2: the folder cannot be read.
Needs torch, safetensors, compressed-tensors, transformers (tried with compressed-tensors 0.20.0, transformers 5.23).
"""
import argparse
import json
import pathlib
import sys

import torch
from safetensors import SafetensorError, safe_open

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read(path):
    """All tensors of a file, or of a folder with or without an index."""
    path = pathlib.Path(path)
    if path.is_file():
        files = [path]
    elif (path / "model.safetensors.index.json").exists():
        index = json.loads((path / "model.safetensors.index.json").read_text())
        files = [path / name for name in sorted(set(index["weight_map"].values()))]
    else:
        files = [path / "model.safetensors"]
    out = {}
    for file in files:
        with safe_open(file, "pt") as f:
            out |= {name: f.get_tensor(name) for name in f.keys()}
    return out


def scheme_of(module, config, dense):
    """The scheme of a module: exact name before pattern before class, `ignore` wins; every quantizable module here is a Linear."""
    from compressed_tensors.utils.match import match_name

    if any(match_name(module, i) or i == "Linear" for i in config.ignore):
        return None
    found = []
    for scheme in config.config_groups.values():
        for target in scheme.targets:
            if target == "Linear" or match_name(module, target):
                found.append((2 if target == "Linear" else 1 if target.startswith("re:") else 0, scheme))
    return min(found, key=lambda pair: pair[0])[1] if found else dense


def decompress(folder, tensors):
    """NAME.weight -> float32 for every compressed module of the folder; the other tensors as they are."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.compressors.format import infer_module_format
    from compressed_tensors.quantization import QuantizationConfig

    section = json.loads((folder / "config.json").read_text())["quantization_config"]
    if section.get("quant_method") != "compressed-tensors":
        raise ValueError(f"config.json: quant_method is {section.get('quant_method')}, not compressed-tensors")
    config = QuantizationConfig.model_validate(section)
    modules, out = {}, {}
    for name, tensor in tensors.items():
        module, _, local = name.rpartition(".")
        if f"{module}.weight_scale" in tensors and local != "bias":
            modules.setdefault(module, {})[local] = tensor
        else:
            out[name] = tensor
    for module, state in modules.items():
        scheme = scheme_of(module, config, None)
        if scheme is None:
            raise ValueError(f"{module}: has a weight_scale, but no config group targets it")
        kind = scheme.format or (config.format if config.format != "mixed-precision" else None) or infer_module_format(torch.nn.Linear, scheme)
        compressor = BaseCompressor.get_value_from_registry(getattr(kind, "value", kind))
        expected = set(compressor.compression_param_names(scheme))
        if set(state) != expected:
            raise ValueError(f"{module}: {kind} has tensors {sorted(expected)}, the file has {sorted(state)}")
        state["weight_scale"] = state["weight_scale"].float()
        out[f"{module}.weight"] = compressor.decompress(state, scheme)["weight"]
    return out, len(modules)


def load_model(folder, dequantize):
    """The weights that transformers has after loading: either dequantized while loading, or loaded packed and decompressed after."""
    import warnings

    import transformers
    from transformers import AutoModelForCausalLM, CompressedTensorsConfig

    warnings.filterwarnings("ignore", message="You passed `quantization_config`")
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    how = {"quantization_config": CompressedTensorsConfig(dequantize=True)} if dequantize else {}
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **how)
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        left = set(info[kind]) - tied
        if left:
            raise ValueError(f"{kind}: {sorted(left)[:5]}")
    if not dequantize:
        model.hf_quantizer.compressor.decompress_model(model)
    return {name: p.detach().float() for name, p in model.state_dict().items()
            if name not in tied and name.rpartition(".")[2] in ("weight", "bias")}


def rounded_to_scales(wanted, tensors):
    """transformers multiplies in the dtype of the scales, so its weights are ours rounded to it."""
    def narrow(name, w):
        scale = tensors.get(f"{name.rpartition('.')[0]}.weight_scale")
        return w if scale is None or not name.endswith(".weight") else w.to(scale.dtype).float()

    return {name: narrow(name, w) for name, w in wanted.items()}


def compare(title, got, wanted, tolerance):
    bad, worst = 0, 0.0
    for name in sorted(set(got) | set(wanted)):
        if name not in got or name not in wanted:
            print(f"  {title}: {name}: only in {'the dequantized file' if name in wanted else 'the folder'}")
            bad += 1
            continue
        a, b = got[name], wanted[name]
        if a.dtype not in FLOATS or b.dtype not in FLOATS or a.shape != b.shape:
            print(f"  {title}: {name}: {a.dtype} {list(a.shape)} against {b.dtype} {list(b.shape)}")
            bad += 1
            continue
        if b.dtype in (torch.float16, torch.bfloat16):  # the file was rounded: round alike
            a = a.to(b.dtype)
        difference = float((a.double() - b.double()).abs().max()) if a.numel() else 0.0
        finite = bool(torch.isfinite(a).all())
        worst = max(worst, difference)
        if not finite or not difference <= tolerance:
            bad += 1
        print(f"  {title}: {name} {list(a.shape)}: {difference:.3g}{'' if finite else ' NOT FINITE'}{'' if difference <= tolerance else ' DIFFERS'}")
    print(f"{title}: {len(wanted)} tensors, largest difference {worst:.3g}, {bad} wrong")
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("dequantized", type=pathlib.Path)
    parser.add_argument("--tolerance", type=float, default=0.0)
    parser.add_argument("--no-model", action="store_true")
    args = parser.parse_args()
    try:
        tensors, wanted = read(args.folder), read(args.dequantized)
        got, modules = decompress(args.folder, tensors)
    except (OSError, ValueError, KeyError, SafetensorError) as e:
        print(f"{args.folder}: {e}", file=sys.stderr)
        return 2
    if not modules:
        print(f"{args.folder}: no compressed module", file=sys.stderr)
        return 2
    bad = compare("package", got, wanted, args.tolerance)
    if not args.no_model:
        narrow = rounded_to_scales(wanted, tensors)
        refused = []
        for dequantize in (True, False):
            title = f"transformers, dequantize={dequantize}"
            try:
                model = load_model(args.folder, dequantize)
            except (OSError, ValueError, KeyError, RuntimeError) as e:
                refused.append(title)
                print(f"{title}: does not load: {str(e).strip().splitlines()[0]}")
                continue
            bad += compare(title, model, wanted if not dequantize else narrow, args.tolerance)
        if len(refused) == 2:
            print(f"{args.folder}: transformers loads it neither way", file=sys.stderr)
            return 2
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
