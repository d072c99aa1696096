#!/usr/bin/env python3
"""Writes halftone/eval/character_class.inc: runs of numbers, punctuation and symbols, as sacrebleu's tokenizer `intl` finds them.

    python3 tests/tools/character_class.py > halftone/eval/character_class.inc

needs: pip install regex     (the module that sacrebleu asks, with its own version of Unicode)
"""
import regex

classes = {name: regex.compile(rf"\p{{{name}}}") for name in "NPS"}
runs = []
for code in range(0x110000):
    if 0xD800 <= code < 0xE000:  # surrogates: no character of a valid text
        continue
    kind = next((name for name, found in classes.items() if found.match(chr(code))), None)
    if kind and runs and runs[-1][1] == code - 1 and runs[-1][2] == kind:
        runs[-1][1] = code
    elif kind:
        runs.append([code, code, kind])
entries = [f"{{0x{first:x}, 0x{last:x}, {kind}}}," for first, last, kind in runs]
line = ""
for entry in entries:
    if len(line) + len(entry) > 98:
        print(line)
        line = ""
    line += (" " if line else "") + entry
print(line)
