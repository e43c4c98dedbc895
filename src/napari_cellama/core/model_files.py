"""What a model's folder says without loading the model: weights, token limit, token counts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_cellama.errors import UserError

#: Endings of the files that configure a model or hold its vocabulary.
_SETTINGS = {".json", ".txt", ".model"}


class TokenCounter:
    """Counts tokens with the ``tokenizers`` package alone; the tokenizer is read on first use.

    Parameters
    ----------
    folder
        The model's folder, with its ``tokenizer.json``.

    Attributes
    ----------
    limit
        The model's token limit, special tokens included; longer sentences are cut.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.limit = max_seq_length(self.folder)
        self._prompt = model_prompt(self.folder)
        self._tokenizer: Any = None

    def count(self, sentences: Sequence[str]) -> np.ndarray:
        """Return (len(sentences),) int64: tokens of each, with the special ones, uncut.

        Raises
        ------
        UserError
            When the folder has no ``tokenizer.json``.
        """
        if self._tokenizer is None:
            self._tokenizer = self._read()
        counts = np.empty(len(sentences), np.int64)
        for start in range(0, len(sentences), 1024):  # an encoding holds far more than its ids
            texts = [self._prompt + text for text in sentences[start : start + 1024]]
            encodings = self._tokenizer.encode_batch_fast(texts)
            counts[start : start + 1024] = [len(encoding.ids) for encoding in encodings]
        return counts

    def _read(self) -> Any:
        from tokenizers import Tokenizer, normalizers

        path = self.folder / "tokenizer.json"
        if not path.is_file():
            raise UserError(f"The model in {self.folder} has no tokenizer.json to count with.")
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if _json(self.folder / "sentence_bert_config.json").get("do_lower_case"):
            steps = [normalizers.Lowercase(), tokenizer.normalizer]
            tokenizer.normalizer = normalizers.Sequence([step for step in steps if step])
        return tokenizer


def weight_files(folder: Path) -> list[Path]:
    """Return a model's safetensors files, those of its later modules included, sorted.

    Raises
    ------
    UserError
        When the folder is absent or no model, has no weights, or has them only as pickles, which
        could run any code on loading.
    """
    if not folder.is_dir():
        raise UserError(f"There is no model folder {folder}.")
    modules = folder / "modules.json"
    if not modules.is_file() and not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} is not a sentence transformer: it has neither modules.json nor config.json."
        )
    parts = {folder} | {folder / part["path"] for part in _json(modules, [])}
    found = []
    for part in sorted(parts):
        tensors = sorted(part.glob("*.safetensors"))
        if not tensors and any(part.glob("*.bin")):
            raise UserError(
                f"The weights in {part} are a pickle, which could run any code; only safetensors "
                "are read, so convert the model first (save it anew with sentence-transformers)."
            )
        found += tensors
    if not found:
        raise UserError(f"The weights are missing in {folder}: there is no model.safetensors.")
    return found


def weights_hash(folder: Path) -> str:
    """Return the sha256 of a model's weights: the file's own, or of all files' names and hashes.

    Raises
    ------
    UserError
        As :func:`weight_files`, or when a file cannot be read.
    """
    hashes = {}
    for path in weight_files(folder):
        try:
            with path.open("rb") as stream:
                hashes[path] = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise UserError(f"The weights {path} cannot be read: {error.strerror}.") from error
    if len(hashes) == 1:
        return hashes.popitem()[1]
    lines = [f"{path.relative_to(folder).as_posix()} {value}\n" for path, value in hashes.items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def settings_hash(folder: Path) -> str:
    """Return the sha256 of all but the weights that decides a vector.

    That is every configuration and vocabulary file of the model and its modules: pooling,
    prompts, tokenizer, limits. Two folders of equal weights can differ in these.
    """
    digest = hashlib.sha256()
    parts = [folder, *(folder / part["path"] for part in _json(folder / "modules.json", []))]
    files = {path for part in parts for path in part.glob("*") if path.suffix in _SETTINGS}
    for path in sorted(files):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def max_seq_length(folder: Path) -> int:
    """Return a model's token limit by sentence-transformers' rule, without loading the model."""
    limit = _json(folder / "sentence_bert_config.json").get("max_seq_length")
    if limit is None:
        positions = _json(folder / "config.json").get("max_position_embeddings", -1)
        limit = _json(folder / "tokenizer_config.json").get("model_max_length", 2**31 - 1)
        limit = min(limit, positions if positions != -1 else limit)
    return int(min(limit, 2**31 - 1))


def model_prompt(folder: Path) -> str:
    """Return what the model puts before every sentence."""
    config = _json(folder / "config_sentence_transformers.json")
    return config.get("prompts", {}).get(config.get("default_prompt_name"), "")


def _json(path: Path, default: Any = None) -> Any:
    """Return a configuration file's content, or ``default`` ({}) where there is none."""
    default = {} if default is None else default
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"The model's file {path} cannot be read: {error}.") from error
