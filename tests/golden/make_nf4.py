#!/usr/bin/env python3
"""Writes nf4.h: matrices in NF4 with double quantisation, by bitsandbytes on a CPU.

Run in this directory with torch and bitsandbytes installed (torch 2.15, bitsandbytes 0.50.2 made the file that is here).
The matrices are formulas, which tests/test_nf4.c has too, so only results are kept. Codes are what quantize_4bit gives.
Absmax codes are those of bitsandbytes' own Python kernel: its CPU library takes them from a table of 65,536 steps, and the
number of codes in which it differs is printed. The mean of absmax is torch's in double, rounded once: its sum in fp32, with
which quantize_4bit computes, depends on the machine where the numbers are not bf16; both are printed.
"""
import bitsandbytes.functional as F
import torch

# Rows, columns, whether the numbers are rounded to bf16.
CASES = [(1, 1, False), (3, 5, False), (5, 33, True), (64, 64, True), (33, 67, False), (129, 131, True), (160, 131, False)]


def matrix(rows, cols, rounded):
    """A bell of sums of residues; every 997th number is an outlier, every seventh block has a scale of its own."""
    i = torch.arange(rows * cols)
    x = ((i * 7919) % 2003 + (i * 104729) % 1999 + (i * 1299709) % 1009 - 2500).float() * 0.0000137
    x[i % 997 == 5] *= 32
    x[i // 64 % 7 == 3] *= 0.01
    x[i // 64 % 29 == 11] = 0
    if rounded:
        x = x.bfloat16().float()
    return x.view(rows, cols)


def borders():
    """Numbers at the middles of neighbours and next to them, of which 1 is the largest; then the same times 3."""
    value = F.get_4bit_type("nf4", device="cpu")
    middle = (value[:-1] + value[1:]) / 2
    one = torch.tensor([1.0])
    x = torch.cat([one, middle, torch.nextafter(middle, 2 * one), torch.nextafter(middle, -2 * one),
                   torch.zeros(64 - 46)])
    return torch.stack([x, x * 3])


def bytes_of(tensor):
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def fnv(tensor):
    x = 0xCBF29CE484222325
    for byte in bytes_of(tensor):
        x = (x ^ byte) * 0x100000001B3 % 2**64
    return x


def quoted(tensor):
    text = bytes_of(tensor).hex()
    parts = [text[i:i + 110] for i in range(0, len(text), 110)]
    return "\n     ".join('"%s"' % p for p in parts)


def exact_absmax(absmax, offset):
    code = F.create_dynamic_map()
    kernel = torch.ops.bitsandbytes.quantize_blockwise.default
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CompositeExplicitAutograd)
    return kernel.redispatch(keys, absmax - offset, code, 256)


def largest(x):
    x = x.reshape(-1)
    pad = torch.nn.functional.pad(x, (0, -len(x) % 64))
    return pad.view(-1, 64).abs().max(dim=1)[0]


def main():
    torch.set_num_threads(1)
    with open("nf4.h", "w") as out:
        out.write("/* Made by make_nf4.py; do not edit. */\n/* clang-format off */\n")
        out.write("/* Numbers of 64 bits are FNV-1a: of the map, of codes, of the matrix made back in fp32 and bf16. */\n")
        out.write("static const uint64_t golden_map = 0x%016x;\n" % fnv(F.create_dynamic_map()))
        out.write("static const struct golden_nf4 {\n    int rows, cols;\n    bool rounded;\n"
                  "    uint64_t code, fp32, bf16;\n    const char *absmax, *scale, *offset;\n} golden_nf4[] = {\n")
        for rows, cols, rounded in CASES + [(2, 64, None)]:
            x = borders() if rounded is None else matrix(rows, cols, rounded)
            code, state = F.quantize_4bit(x, compress_statistics=True, quant_type="nf4")
            absmax = largest(x)
            offset = absmax.double().mean().float()
            absmax_code, scale = exact_absmax(absmax, offset)
            scale[scale == 1e-38] = 0  # a scale of zero, which the Python kernel writes so where a group is not whole
            print("(%d, %d): %d of %d absmax codes are others in the CPU library; offset %.9g, torch's sum gives %.9g" %
                  (rows, cols, (absmax_code != state.absmax).sum(), len(absmax), offset, state.offset))
            assert torch.equal(offset, state.offset) if rounded else (offset / state.offset - 1).abs() < 2e-7
            state.absmax, state.state2.absmax, state.offset = absmax_code, scale, offset
            back = F.dequantize_4bit(code, state)
            state.dtype = torch.bfloat16
            narrow = F.dequantize_4bit(code, state)
            out.write("    {%d, %d, %s, 0x%016x, 0x%016x, 0x%016x,\n     %s,\n     %s, %s},\n" % (
                rows, cols, "true" if rounded else "false", fnv(code), fnv(back), fnv(narrow), quoted(absmax_code),
                quoted(scale), quoted(state.offset.reshape(1))))
        out.write("};\n/* clang-format on */\n")


if __name__ == "__main__":
    main()
