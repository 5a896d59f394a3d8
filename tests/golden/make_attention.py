#!/usr/bin/env python3
"""Makes attention.h: torch's attention over a small forest, with its gradients, in float64.

Inputs are sin() of their index, so that only results are stored. Needs torch.
usage: make_attention.py > attention.h
"""
import torch

N, H, K, D = 20, 4, 2, 4
REACH = [12, 12, 12, 7, 7, 7, 7, 12, 12, 11, 11, 12, 20, 20, 20, 17, 17, 20, 20, 20]


def wave(rows, heads, step):
    index = torch.arange(rows * heads * D, dtype=torch.float64)
    return torch.sin(index * step + step).reshape(rows, heads, D).requires_grad_()


def main():
    q, k, v, dout = wave(N, H, 0.7), wave(N, K, 1.3), wave(N, K, 0.9), wave(N, H, 0.37).detach()
    i = torch.arange(N)
    mask = (i[None, :] <= i[:, None]) & (i[:, None] < torch.tensor(REACH)[None, :])
    out = torch.nn.functional.scaled_dot_product_attention(
        q.transpose(0, 1)[None], k.transpose(0, 1)[None], v.transpose(0, 1)[None], attn_mask=mask, enable_gqa=True)
    out = out[0].transpose(0, 1)
    out.backward(dout)
    print("/* Made by make_attention.py with torch %s: attention over a forest, and its gradients. */" % torch.__version__)
    print("enum { GOLDEN_N = %d, GOLDEN_H = %d, GOLDEN_K = %d, GOLDEN_D = %d };" % (N, H, K, D))
    print("static const int32_t golden_reach[] = {%s};" % ", ".join(map(str, REACH)))
    for name, value in (("out", out), ("dq", q.grad), ("dk", k.grad), ("dv", v.grad)):
        numbers = ["%.12g" % x for x in value.detach().flatten().tolist()]
        print("static const double golden_%s[] = {" % name)
        for at in range(0, len(numbers), 6):
            print("    %s," % ", ".join(numbers[at:at + 6]))
        print("};")


if __name__ == "__main__":
    main()
