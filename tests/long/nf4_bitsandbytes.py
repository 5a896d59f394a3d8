"""NF4 with double quantisation against bitsandbytes, on matrices of millions of random numbers.

    python tests/long/nf4_bitsandbytes.py          # needs torch, bitsandbytes, cc

src/ops/nf4.c, compiled alone, against quantize_4bit: the 4-bit codes; the codes, scales and mean of the blocks' absmax,
also by bitsandbytes' Python kernel, since its CPU library takes absmax codes from a table of 65,536 steps. Prints a line a
matrix; exits with 1 if a 4-bit code, or an absmax code of the Python kernel, differs.
"""
import ctypes
import os
import subprocess
import sys
import tempfile

import bitsandbytes.functional as F
import numpy as np
import torch

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BLOCK, GROUP = 64, 256


def compile_codec(folder):
    path = os.path.join(folder, "nf4.so")
    subprocess.run(["cc", "-std=gnu11", "-O2", "-fPIC", "-shared", "-ffp-contract=off", f"-I{ROOT}/include", "-o", path,
                    f"{ROOT}/src/ops/nf4.c", "-lm"], check=True)
    return ctypes.CDLL(path)


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


def quantise(codec, x):
    """Codes, absmax codes, scales and the mean of absmax, of a flat array."""
    n_blocks = -(-len(x) // BLOCK)
    absmax, code = np.empty(n_blocks, np.float32), np.empty((len(x) + 1) // 2, np.uint8)
    absmax_code, scale = np.empty(n_blocks, np.uint8), np.empty(-(-n_blocks // GROUP), np.float32)
    offset, n = np.empty(1, np.float32), ctypes.c_int64(len(x))
    codec.nf4_find_absmax(pointer(absmax), pointer(x), n)
    codec.nf4_quantise(pointer(code), pointer(x), n)
    codec.nf4_quantise_absmax(pointer(absmax_code), pointer(scale), pointer(offset), pointer(absmax),
                              ctypes.c_int64(n_blocks))
    return absmax, code, absmax_code, scale, offset


def python_absmax(absmax, offset):
    kernel = torch.ops.bitsandbytes.quantize_blockwise.default
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CompositeExplicitAutograd)
    return kernel.redispatch(keys, torch.from_numpy(absmax) - torch.from_numpy(offset), F.create_dynamic_map(), GROUP)


def check(codec, name, x):
    absmax, code, absmax_code, scale, offset = quantise(codec, x.numpy().ravel())
    theirs, state = F.quantize_4bit(x, compress_statistics=True, quant_type="nf4")
    exact_code, exact_scale = python_absmax(absmax, offset)
    n_codes = (code != theirs.numpy().ravel()).sum()
    n_exact = (absmax_code != exact_code.numpy().ravel()).sum()
    n_library = (absmax_code != state.absmax.numpy().ravel()).sum()
    scales = np.abs(scale / exact_scale.numpy().ravel() - 1).max()
    bad = n_codes or n_exact or not scales <= 1e-6
    print(f"{'not ok' if bad else 'ok'} {name}: {n_codes} of {len(code)} bytes of codes differ, {n_exact} of "
          f"{len(absmax)} absmax codes ({n_library} in the CPU library), scales {scales:.1g}, mean "
          f"{abs(offset[0] / state.offset.item() - 1):.1g}", flush=True)
    return bool(bad)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        codec, n_bad = compile_codec(folder), 0
        for rows, columns in ((1024, 4096), (4864, 896), (777, 1333)):
            x = torch.randn(rows, columns) * 0.02
            n_bad += check(codec, f"{rows} x {columns}, fp32", x)
            n_bad += check(codec, f"{rows} x {columns}, bf16", x.bfloat16().float())
            x[torch.rand(x.shape) < 1e-3] *= 40
            n_bad += check(codec, f"{rows} x {columns}, outliers", x)
    sys.exit(1 if n_bad else 0)


if __name__ == "__main__":
    main()
