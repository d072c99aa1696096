#!/usr/bin/env python3
"""Does a GPTQ folder (v1 or v2 layout) hold the weights it should? An unpacker of its own in numpy, by bits rather than by words.

  python3 tests/tools/verify_gptq.py FOLDER DEQUANTIZED [--tolerance T]

FOLDER       a packed model: config.json (or quantize_config.json) with quant_method gptq, *.safetensors with qweight, qzeros, scales, g_idx
DEQUANTIZED  a safetensors file of the weights in float, by Hugging Face names (NAME.weight, biases, norms)
2, 3, 4 and 8 bits; v1 stores the zero point minus one (modulo 2^bits), v2 the zero point.
Exit code 0: all equal within T (default 0); 1: a difference, a missing or a spare tensor; 2: the folder cannot be read. Needs numpy, safetensors.
"""
import argparse
import json
import pathlib
import sys

import numpy as np
from safetensors import SafetensorError, safe_open


def tensor_bits(file):
    """name -> numpy array; bfloat16 (which numpy lacks) becomes float32."""
    raw = file.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + size])
    out = {}
    with safe_open(file, "np") as f:
        for name in f.keys():
            if header[name]["dtype"] == "BF16":
                begin, end = header[name]["data_offsets"]
                half = np.frombuffer(raw[8 + size + begin:8 + size + end], "<u2")
                out[name] = (half.astype("<u4") << 16).view("<f4").reshape(header[name]["shape"])
            else:
                out[name] = f.get_tensor(name)
    return out


def read(path):
    path = pathlib.Path(path)
    if path.is_file():
        return tensor_bits(path)
    files = [path / "model.safetensors"]
    if (path / "model.safetensors.index.json").exists():
        index = json.loads((path / "model.safetensors.index.json").read_text())
        files = [path / name for name in sorted(set(index["weight_map"].values()))]
    out = {}
    for file in files:
        out |= tensor_bits(file)
    return out


def settings(folder):
    """The quantization section; both files must agree where both exist."""
    config = json.loads((folder / "config.json").read_text()).get("quantization_config")
    side = folder / "quantize_config.json"
    other = json.loads(side.read_text()) if side.exists() else None
    if config is None and other is None:
        raise ValueError("neither config.json nor quantize_config.json describes a quantization")
    config, other = config or other, other or config
    if config.get("quant_method", "gptq") != "gptq":
        raise ValueError(f"quant_method is {config['quant_method']}, not gptq")
    for key in ("bits", "group_size", "desc_act", "sym", "checkpoint_format"):
        if key in config and key in other and config[key] != other[key]:
            raise ValueError(f"{key}: config.json says {config[key]}, quantize_config.json {other[key]}")
    label = config.get("checkpoint_format", config.get("format", "gptq"))
    if label not in ("gptq", "gptq_v2"):
        raise ValueError(f"checkpoint_format {label} is neither gptq nor gptq_v2")
    if config["bits"] not in (2, 3, 4, 8):
        raise ValueError(f"bits {config['bits']} is not 2, 3, 4 or 8")
    return config["bits"], config["group_size"], label, bool(config.get("sym", True)), bool(config.get("desc_act", False))


def unpack(words, bits, count):
    """words int32 [w, m] -> codes [count, m]: every column is one little-endian string of bits, `bits` to a code."""
    w, m = words.shape
    if w * 32 != count * bits:
        raise ValueError(f"{w} words cannot hold {count} codes of {bits} bits")
    column_bytes = np.ascontiguousarray(words.T).astype("<i4").view(np.uint8).reshape(m, w * 4)
    flat = np.unpackbits(column_bytes, axis=1, bitorder="little").reshape(m, count, bits)
    return (flat.astype(np.int64) << np.arange(bits)).sum(-1).T


def dequantize(module, tensors, bits, group_size, label, sym, desc_act):
    part = {key: tensors.get(f"{module}.{key}") for key in ("qweight", "qzeros", "scales", "g_idx")}
    if part["qzeros"] is None or part["scales"] is None:
        raise ValueError(f"{module}: qweight without qzeros or scales")
    k = part["qweight"].shape[0] * 32 // bits
    n = part["qweight"].shape[1]
    size = k if group_size == -1 else group_size
    groups = -(-k // size)
    codes = unpack(part["qweight"], bits, k)
    stored = unpack(part["qzeros"].T, bits, n).T
    if part["scales"].shape != (groups, n) or stored.shape != (groups, n):
        raise ValueError(f"{module}: scales {part['scales'].shape}, zeros {stored.shape}, expected {(groups, n)}")
    zeros = (stored + 1) % 2 ** bits if label == "gptq" else stored
    if sym and not (zeros == 2 ** (bits - 1)).all():
        raise ValueError(f"{module}: sym, but a zero point is not {2 ** (bits - 1)} (format {label})")
    g_idx = part["g_idx"] if part["g_idx"] is not None else np.arange(k) // size
    if g_idx.shape != (k,) or g_idx.min() < 0 or g_idx.max() >= groups:
        raise ValueError(f"{module}: g_idx out of range")
    if not desc_act and not np.array_equal(g_idx, np.arange(k) // size):
        raise ValueError(f"{module}: g_idx is scattered, but desc_act is false")
    return (part["scales"].astype(np.float32)[g_idx] * (codes - zeros[g_idx]).astype(np.float32)).T


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("dequantized", type=pathlib.Path)
    parser.add_argument("--tolerance", type=float, default=0.0)
    args = parser.parse_args()
    try:
        tensors, wanted = read(args.folder), read(args.dequantized)
        how = settings(args.folder)
        got, modules = {}, 0
        for name, tensor in tensors.items():
            module, _, local = name.rpartition(".")
            if local == "qweight":
                got[f"{module}.weight"] = dequantize(module, tensors, *how)
                modules += 1
            elif f"{module}.qweight" not in tensors or local == "bias":
                got[name] = tensor
    except (OSError, ValueError, KeyError, SafetensorError) as e:
        print(f"{args.folder}: {e}", file=sys.stderr)
        return 2
    if not modules:
        print(f"{args.folder}: no qweight", file=sys.stderr)
        return 2
    bad, worst = 0, 0.0
    for name in sorted(set(got) | set(wanted)):
        if name not in got or name not in wanted:
            print(f"  {name}: only in {'the dequantized file' if name in wanted else 'the folder'}")
            bad += 1
            continue
        a, b = got[name], wanted[name]
        if a.shape != b.shape or a.dtype.kind != "f" or b.dtype.kind != "f":
            print(f"  {name}: {a.dtype} {list(a.shape)} against {b.dtype} {list(b.shape)}")
            bad += 1
            continue
        if b.dtype == np.float16:  # the file was rounded: round alike
            a = a.astype(np.float16)
        difference = float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max()) if a.size else 0.0
        worst = max(worst, difference)
        wrong = not difference <= args.tolerance
        bad += wrong
        print(f"  {name} {list(a.shape)}: {difference:.3g}{' DIFFERS' if wrong else ''}")
    print(f"{how[2]} {how[0]} bits group {how[1]}: {modules} packed modules, {len(wanted)} tensors, largest difference {worst:.3g}, {bad} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
