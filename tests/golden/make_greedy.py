"""What transformers writes greedily with tiny language models, in float32, one prompt at a time.

    python tests/golden/make_greedy.py   # writes tests/golden/greedy/; needs torch, transformers 5 and peft

Cases are golden models of make_models.py and make_language_models.py, and one with an adapter of PEFT's, which is made here.
Each is a safetensors file, all float32: prompts and prompt_length, tokens and length of what was written, log_probability of
each of these, and eos. Of each row only what comes before the first step whose two best logits are within GAP is kept.
"""
import json
import os
import shutil

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from make_models import HERE, sequences

NEW, GAP = 60, 1e-3
CASES = {"lm_llama": None, "lm_qwen2_tied": None, "lm_neox": None, "qwen3": None, "lm_llama_adapter": "lm_llama"}
OUT = os.path.join(HERE, "greedy")


def make_adapter(base, path):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(task_type=TaskType.CAUSAL_LM, r=4, lora_alpha=16, target_modules="all-linear"))
    g = torch.Generator().manual_seed(8)
    for name, p in model.named_parameters():
        if "lora_" in name:
            p.data = torch.randn(p.shape, generator=g) * (0.5 / p.shape[1] ** 0.5)
    model.save_pretrained(path)
    os.remove(os.path.join(path, "README.md"))
    file = os.path.join(path, "adapter_config.json")
    with open(file) as f:
        config = json.load(f)
    config["base_model_name_or_path"] = "tests/golden/models/lm_llama"
    config["target_modules"] = sorted(config["target_modules"])
    with open(file, "w") as f:
        json.dump(config, f, indent=2, sort_keys=True)


def greedy(model, prompt):
    """Tokens, log-probabilities, whether they are whole."""
    out = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=NEW, output_logits=True,
                         return_dict_in_generate=True)
    tokens, logs = [], []
    for token, logits in zip(out.sequences[0, len(prompt):].tolist(), out.logits):
        best = logits[0].topk(2).values
        if best[0] - best[1] < GAP:
            return tokens, logs, False
        tokens.append(token)
        logs.append(torch.log_softmax(logits[0].double(), 0)[token].item())
    return tokens, logs, True


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    for case, base in CASES.items():
        path = os.path.join(HERE, "models", base or case)
        adapter = os.path.join(OUT, case)
        if base:
            make_adapter(path, adapter)
        model = AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager", dtype=torch.float32).eval()
        if base:
            model = PeftModel.from_pretrained(model, adapter).eval()
        eos = model.generation_config.eos_token_id
        prompts = sequences()
        with torch.no_grad():
            written = [greedy(model, p) for p in prompts]
        save_file(dict(prompts=torch.tensor([float(t) for p in prompts for t in p]),
                       prompt_length=torch.tensor([float(len(p)) for p in prompts]),
                       tokens=torch.tensor([float(t) for w in written for t in w[0]]),
                       length=torch.tensor([float(len(w[0])) for w in written]),
                       whole=torch.tensor([float(w[2]) for w in written]),
                       log_probability=torch.tensor([x for w in written for x in w[1]]),
                       eos=torch.tensor([-1.0 if eos is None else float(eos)])),
                  os.path.join(OUT, case + ".safetensors"))
        print(case, "eos", eos, [(len(w[0]), w[2], len(set(w[0]))) for w in written])


if __name__ == "__main__":
    main()
