"""Tokenizers in the manner of real models, trained on the spot: byte-level BPE, and pieces like SentencePiece's."""

from __future__ import annotations

from typing import Any

BYTES = "bytes"  # GPT-2's, Qwen2's: no space before a text, nothing at its start, no padding token
PIECES = "pieces"  # Llama's, Mistral's: a space before a text, <s> at its start, bytes for unknown characters
TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}] {{ message.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
TEXTS = ["the cat sat on the mat: abc=ABC def=DEF", "copy:abc= upper:fed= reverse:cab= [user] [assistant]"] * 4


def build(kind: str, *, chat: bool = False, window: int = 64) -> Any:
    """A tokenizer of one of the kinds, with or without a chat template."""
    from transformers import PreTrainedTokenizerFast

    raw, special = _bytes() if kind == BYTES else _pieces()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=window, **special)
    if chat:
        tokenizer.chat_template = ("{{ bos_token }}" if kind == PIECES else "") + TEMPLATE
    return tokenizer


def _bytes() -> tuple[Any, dict[str, str]]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    end = "<|endoftext|>"
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=[end], initial_alphabet=alphabet, show_progress=False)
    raw.train_from_iterator(TEXTS, trainer)
    return raw, {"bos_token": end, "eos_token": end}


def _pieces() -> tuple[Any, dict[str, str]]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    learner = Tokenizer(models.Unigram())
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trainer = trainers.UnigramTrainer(
        vocab_size=90, special_tokens=list(special.values()), unk_token="<unk>", show_progress=False
    )
    learner.train_from_iterator(TEXTS, trainer)
    learned = sorted(learner.get_vocab().items(), key=lambda pair: pair[1])
    pieces = [(piece, 0.0 if piece in special.values() else -float(len(learned)) / (i + 1)) for piece, i in learned]
    raw = Tokenizer(
        models.Unigram(pieces + [(f"<0x{byte:02X}>", -100.0) for byte in range(256)], unk_id=0, byte_fallback=True)
    )
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return raw, special
