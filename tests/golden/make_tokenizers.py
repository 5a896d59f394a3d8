"""Makes the tokenizer goldens: `python tests/golden/make_tokenizers.py` from the repository root.

    tokenizer_small/      a byte-level BPE of 512 tokens trained here, laid out like GPT-2's (the last id is
                          <|endoftext|>), for every test and demo that needs a tokenizer and must not be skipped

Needs Hugging Face tokenizers (0.23) and transformers; the output depends on nothing else.
"""
import json
import os
import random

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
SMALL = os.path.join(HERE, "tokenizer_small")
EOS = "<|endoftext|>"

# Plain sentences for the trainer: dialogue, numbers, code and a little of other scripts, so that merges of every kind
# exist. Written for this file.
TEXT = """
Human: What is the capital of France? Assistant: The capital of France is Paris.
Human: Can you help me with a question about the weather? Assistant: Of course, I can help you with that.
Human: How many days are there in a year? Assistant: There are 365 days in a year, and 366 in a leap year.
I think that you should not do that, because it would hurt other people. Please ask me something else.
She said that they'd been there before, but he didn't remember; we're sure you'll like it, and I've seen it.
for (int i = 0; i < n; i++) { total += value[i] * 2; }    return total;
The quick brown fox jumps over the lazy dog. A good answer is short, true and kind. A bad answer is long and wrong.
Numbers such as 1, 2, 3, 10, 20, 100, 1000 and 2024 stand in this text. So do lists: red, green, blue, yellow.
Das ist ein schöner Tag, und über den Bäumen fliegen Vögel. Où est la gare? C'est là-bas, près du café.
Это короткое предложение. 这是一个句子。 これは文です。 Αυτό είναι μια πρόταση.
The answer to the question is in the book that I have on the table in the other room of the house.
"""


def train_small():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=511, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(["\n\n" + line for line in TEXT.strip().split("\n")], trainer)
    made = json.loads(tokenizer.to_str())
    assert len(made["model"]["vocab"]) == 511, len(made["model"]["vocab"])
    made["model"]["vocab"][EOS] = 511
    tokenizer = Tokenizer.from_str(json.dumps(made))
    tokenizer.add_special_tokens([AddedToken(EOS, normalized=False, special=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    assert tokenizer.token_to_id(EOS) == 511
    return tokenizer


def write_small(tokenizer):
    os.makedirs(SMALL, exist_ok=True)
    with open(os.path.join(SMALL, "tokenizer.json"), "w") as f:
        f.write(tokenizer.to_str(pretty=False) + "\n")
    config = {"tokenizer_class": "GPT2TokenizerFast", "bos_token": EOS, "eos_token": EOS, "unk_token": EOS,
              "model_max_length": 1024}
    with open(os.path.join(SMALL, "tokenizer_config.json"), "w") as f:
        json.dump(config, f)
        f.write("\n")


def main():
    random.seed(0)
    small = train_small()
    write_small(small)


if __name__ == "__main__":
    main()
