"""Makes the small models that the tests of `import` read, with what transformers answers.

Random weights, one directory for each architecture and head. Beside the packages of
`models/train/requirements.txt` it needs transformers (5.23.0 made these) and onnx:

    python models/tests/import/make.py

Each directory gets `config.json`, `model.safetensors`, `tokenizer.json` and `expected.json`:
texts, their pieces, the last hidden states and the logits in fp32. Matrices are larger than
transformers initialises them, so that attention is sharp and answers differ between texts, and
every row is whole numbers up to 127 times a power of two: what int8 can hold without loss, so that
only the rounding of activations is between the two results. Most are stored as bfloat16;
`bert-sequence` is fp32, in two files, and `roberta-sequence` fp16. `bert-sequence`,
`distilbert-token` and `modernbert-sequence` are exported as ONNX too.
"""

from __future__ import annotations

import json
import math
import shutil
import warnings
from pathlib import Path

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    CamembertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ModernBertConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

HOME = Path(__file__).parent
LABELS = ["Leaking", "Noise", "Overheating"]
TAGS = ["O", "B-Item", "I-Item", "B-Activity", "I-Activity"]
TEXTS = [
    "pump leaking",
    "hot bearing noise on the main pump, replace seal",
    "oil leak at valve",
    "a",
    "check motor noise at the cooler and the gearbox near the mill",
]
WORDS = (
    "pump leak oil valve hot noise motor seal bearing check replace the on at of and main a "
    "cooler belt mill"
).split()


def bert_tokenizer() -> Tokenizer:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "##ing", "##s", ",", "."]
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces += [*letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: at for at, piece in enumerate(dict.fromkeys(pieces))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.decoder = decoders.WordPiece()
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return made


def byte_tokenizer() -> Tokenizer:
    """Bytes and a few merges, as RoBERTa and ModernBERT have them."""
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    used = sorted({c for text in TEXTS for c in text if c != " "} | {"Ġ"})
    used += [c for c in "abcdefghijklmnopqrstuvwxyz0123456789.,!?-" if c not in used]
    merges = [("Ġ", "t"), ("Ġt", "h"), ("Ġth", "e"), ("p", "u"), ("pu", "m"), ("pum", "p")]
    merges += [("l", "e"), ("le", "a"), ("lea", "k"), ("Ġ", "o"), ("i", "n"), ("in", "g")]
    assert set(used) <= set(alphabet)
    pieces = specials + used + [left + right for left, right in merges]
    vocabulary = {piece: at for at, piece in enumerate(dict.fromkeys(pieces))}
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True)
    made.add_special_tokens(specials)
    return made


def sentence_tokenizer(cls: str, sep: str) -> Tokenizer:
    """A unigram model with a mark for spaces, as XLM-RoBERTa, CamemBERT and DeBERTa have it."""
    specials = [(cls, 0.0), ("<pad>", 0.0), (sep, 0.0), ("<unk>", 0.0)]
    pieces = [(f"▁{word}", -2.0) for word in WORDS] + [("▁", -4.0), ("ing", -3.0)]
    pieces += [(letter, -6.0) for letter in "abcdefghijklmnopqrstuvwxyz,."]
    made = Tokenizer(models.Unigram(specials + pieces, unk_id=3))
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    made.decoder = decoders.Metaspace(replacement="▁")
    made.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B {sep}",
        special_tokens=[(cls, 0), (sep, 2)],
    )
    made.add_special_tokens([cls, "<pad>", sep, "<unk>"])
    return made


SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 72,
}
DISTIL_SIZES = {
    "dim": 32,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 48,
    "max_position_embeddings": 72,
}


def cases() -> dict[str, tuple[object, Tokenizer, str, torch.dtype]]:
    bert, byte = bert_tokenizer(), byte_tokenizer()
    sentence = sentence_tokenizer("<s>", "</s>")
    deberta = sentence_tokenizer("[CLS]", "[SEP]")
    v3 = DebertaV2Config(
        **SIZES, position_buckets=8, relative_attention=True, norm_rel_ebd="layer_norm",
        share_att_key=True, pos_att_type=["p2c", "c2p"], position_biased_input=False,
        max_relative_positions=-1, type_vocab_size=0,
    )
    v2 = DebertaV2Config(
        **{**SIZES, "relative_attention": True}, share_att_key=False, pos_att_type=["c2p"],
        position_biased_input=True, type_vocab_size=2, embedding_size=24, hidden_act="gelu_new",
    )
    modern = {**SIZES, "num_hidden_layers": 4}
    modern |= {"local_attention": 16, "global_attn_every_n_layers": 3}
    modern |= {f"{token}_token_id": at for token, at in (("pad", 1), ("bos", 0), ("eos", 2))}
    modern |= {"cls_token_id": 0, "sep_token_id": 2}
    roberta = dict(type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5)
    xlm = {"hidden_act": "gelu_pytorch_tanh"}
    f32, f16, bf16 = torch.float32, torch.float16, torch.bfloat16
    return {
        "bert-sequence": (BertConfig(**SIZES), bert, "sequence", f32),
        "bert-token": (BertConfig(**SIZES, hidden_act="silu"), bert, "token", bf16),
        "bert-bare": (BertConfig(**SIZES, hidden_act="relu"), bert, "bare", bf16),
        "distilbert-sequence": (DistilBertConfig(**DISTIL_SIZES), bert, "sequence", bf16),
        "distilbert-token": (DistilBertConfig(**DISTIL_SIZES), bert, "token", bf16),
        "roberta-sequence": (RobertaConfig(**SIZES, **roberta), byte, "sequence", f16),
        "camembert-sequence": (CamembertConfig(**SIZES, **roberta), sentence, "sequence", bf16),
        "xlm-roberta-token": (XLMRobertaConfig(**SIZES, **roberta, **xlm), sentence, "token", bf16),
        "deberta-v3-sequence": (v3, deberta, "sequence", bf16),
        "deberta-v2-token": (v2, deberta, "token", bf16),
        "modernbert-sequence": (
            ModernBertConfig(**modern, classifier_pooling="mean"), byte, "sequence", bf16
        ),
        "modernbert-token": (ModernBertConfig(**modern), byte, "token", bf16),
    }


# Exported as ONNX beside their safetensors.
EXPORTED = ("bert-sequence", "distilbert-token", "modernbert-sequence")


def sharpen(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Larger weights that int8 holds exactly, uneven biases and norms, all numbers of `dtype`."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                is_table = "embedding" in name
                wanted = 0.5 if is_table else 1.6 / parameter.shape[1] ** 0.5
                step = 2.0 ** math.floor(math.log2(wanted / 40))
                whole = (torch.randn_like(parameter) * 40).round().clamp(-126, 126)
                whole[:, 0] = 127
                parameter.copy_(whole * step)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn_like(parameter) * 0.2)
            else:
                parameter.copy_(1 + torch.randn_like(parameter) * 0.2)
            parameter.copy_(parameter.to(dtype).float())


def make(name: str, config: object, tokenizer: Tokenizer, head: str, dtype: torch.dtype) -> None:
    torch.manual_seed(len(name) + 7)
    config.vocab_size = tokenizer.get_vocab_size()
    config._attn_implementation = "eager"
    if head == "sequence":
        config.id2label = dict(enumerate(LABELS))
        model = AutoModelForSequenceClassification.from_config(config)
    elif head == "token":
        config.id2label = dict(enumerate(TAGS))
        model = AutoModelForTokenClassification.from_config(config)
    else:
        model = AutoModel.from_config(config)
    sharpen(model, dtype)
    model.eval()
    rows = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        with torch.no_grad():
            out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        rows.append({"text": text, "ids": ids, "hidden": flat(last_hidden(model, ids)),
                     "logits": [] if head == "bare" else flat(out.logits)})
    home = HOME / name
    shutil.rmtree(home, ignore_errors=True)
    if name in EXPORTED:
        export(model, home / "onnx" / "model.onnx")
    size = "40KB" if name == "bert-sequence" else "5GB"
    model.to(dtype).save_pretrained(home, max_shard_size=size)
    # transformers_version would change the files with every version.
    saved = json.loads((home / "config.json").read_text())
    saved.pop("transformers_version", None)
    (home / "config.json").write_text(json.dumps(saved, indent=1, sort_keys=True) + "\n")
    tokenizer.save(str(home / "tokenizer.json"), pretty=False)
    lines = ",\n".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) for row in rows)
    (home / "expected.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def export(model: torch.nn.Module, path: Path) -> None:
    """As optimum does it: TorchScript, named parameters, folded constants."""
    path.parent.mkdir(parents=True)
    ids = torch.tensor([[0, 5, 6, 7, 8, 2]])
    torch.onnx.export(
        model,
        (ids, torch.ones_like(ids)),
        str(path),
        input_names=["input_ids", "attention_mask"],
        output_names=["logits"],
        dynamic_axes={"input_ids": {1: "sequence"}, "attention_mask": {1: "sequence"}},
        opset_version=17,
        dynamo=False,
    )


def last_hidden(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    """What the encoder hands to its head; for ModernBERT that is after the last normalisation."""
    with torch.no_grad():
        return model.base_model(input_ids=torch.tensor([ids])).last_hidden_state


def flat(values: torch.Tensor) -> list[float]:
    return [round(float(value), 3) for value in values.flatten()]


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name, case in cases().items():
        make(name, *case)
        size = sum(path.stat().st_size for path in (HOME / name).iterdir())
        print(f"{name}: {size / 1024:.0f} kB")


if __name__ == "__main__":
    main()
