"""Writes every Unicode scalar value, in order: what a byte-level tokenizer must give back unchanged."""

import sys

SURROGATES = range(0xD800, 0xE000)
text = "".join(chr(point) for point in range(0x110000) if point not in SURROGATES)
sys.stdout.buffer.write(text.encode())
