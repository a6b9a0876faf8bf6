"""Models that a stranger wrote on purpose: every file of a checkpoint, and GGUF files, by seeded changes."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Touched by every pickle, script and template that manages to run.
MARKER = "executed"
WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
_JSON_FILES = (CONFIG, TOKENIZER, "tokenizer_config.json", "generation_config.json")
_HUGE = (2**31, 2**40, 2**60, 2**63, 2**64, 10**12, 10**30)
_WILD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 1e308, "", "x", "\x1b[2J\u202e", "../../etc/passwd", "x" * 10_000),
    *([], {}, [[]], {"a": {}}, [None], *_HUGE),
)
_SIZES = (
    *("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "max_position_embeddings"),
)
_TEMPLATES = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__class__ }}{{ raise_exception.__globals__ }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os.system('true') }}",
    "{{ 1 / 0 }}",
    "{{ messages + 1 }}",
    "{{ missing.attribute }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ 'x' * 10 ** 12 }}",
    "{% for message in messages %}",
    "{{ messages[10 ** 30] }}",
    "{{ range(10 ** 9) | list }}",
    "{{ '%999999999999d' % 1 }}",
    "{{ raise_exception('\x1b[2J') }}",
)

Case = Callable[[Path, random.Random], str]


# -- files ----------------------------------------------------------------------------------------


def _replace_file(folder: Path, rng: random.Random) -> str:
    """Something else in place of a file: a pipe, a socket, a folder, links in circles and outwards."""
    file = folder / rng.choice((*_JSON_FILES, WEIGHTS, WEIGHTS))
    kind = rng.choice(("fifo", "socket", "folder", "loop", "zero", "passwd", "nowhere", "empty", "outside"))
    kept = file.read_bytes() if file.exists() else b"{}"
    file.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "socket":
        here = os.open(".", os.O_RDONLY)
        os.chdir(folder)  # a socket's path is short
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(file.name)
        finally:
            os.fchdir(here)
            os.close(here)
    elif kind == "folder":
        file.mkdir()
    elif kind == "empty":
        file.touch()
    elif kind == "outside":
        outside = folder.parent / f"outside-{file.name}"
        outside.write_bytes(kept)
        file.symlink_to(outside)
    else:
        file.symlink_to({"loop": file.name, "zero": "/dev/zero", "passwd": "/etc/passwd", "nowhere": "absent"}[kind])
    return f"{kind} as {file.name}"


def _add_file(folder: Path, rng: random.Random) -> str:
    """A pipe, a link or a circle of folders beside the files of a model."""
    kind = rng.choice(("fifo", "loop", "root", "circle", "null", "template-fifo", "template-bytes"))
    if kind == "fifo":
        os.mkfifo(folder / "notes.txt")
    elif kind == "template-fifo":
        os.mkfifo(folder / "chat_template.jinja")
    elif kind == "template-bytes":
        (folder / "chat_template.jinja").write_bytes(rng.randbytes(500))
    else:
        target = {"loop": "notes.txt", "root": "/", "circle": ".", "null": "/dev/zero"}[kind]
        (folder / "notes.txt").symlink_to(target)
    return f"{kind} beside the files"


def _damage_bytes(folder: Path, rng: random.Random) -> str:
    """Bits, bytes or the end of a file."""
    file = folder / rng.choice((*_JSON_FILES[:3], WEIGHTS))
    content = bytearray(file.read_bytes())
    reach = min(len(content), 3000)
    kind = rng.choice(("bit", "bytes", "cut", "longer"))
    place = rng.randrange(reach)
    if kind == "bit":
        content[place] ^= 1 << rng.randrange(8)
    elif kind == "bytes":
        content[place : place + 8] = rng.randbytes(8)
    elif kind == "cut":
        del content[rng.randrange(len(content)) :]
    else:
        content += rng.randbytes(100)
    file.write_bytes(content)
    return f"{kind} of {file.name} at {place}"


def _no_json(folder: Path, rng: random.Random) -> str:
    """Text that is no JSON object of a sane depth."""
    name = rng.choice((*_JSON_FILES, "model.safetensors.index.json"))
    text = rng.choice(
        (
            *("[" * 100_000, '{"a":' * 100_000, "[]", "null", "5", "\ufeff{}", "{}{}", '{"a": NaN}'),
            *('{"hidden_size": ' + "9" * 5000 + "}", '{"weight_map": {"w": 5}}', '{"weight_map": []}', "\0" * 100),
        )
    )
    (folder / name).write_text(text, encoding="utf-8")
    return f"{text[:20]!r} as {name}"


# -- weights --------------------------------------------------------------------------------------


def _read_header(folder: Path) -> tuple[dict[str, Any], bytes]:
    content = (folder / WEIGHTS).read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _write_header(folder: Path, header: object, numbers: bytes, length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + numbers)


def _tensor(folder: Path, rng: random.Random) -> str:
    """One tensor's offsets, shape, type or name: overlapping, negative, huge, of wrong kinds."""
    header, numbers = _read_header(folder)
    name, other = rng.sample([name for name in header if name != "__metadata__"], 2)
    info = header[name]
    kind = rng.choice(("overlap", "negative", "huge", "kind", "shape", "shape-kind", "dtype", "rename", "drop", "swap"))
    if kind == "overlap":
        info["data_offsets"] = header[other]["data_offsets"]
    elif kind == "negative":
        info["data_offsets"] = [-8, info["data_offsets"][1]]
    elif kind == "huge":
        info["data_offsets"] = [info["data_offsets"][0], rng.choice(_HUGE)]
    elif kind == "kind":
        info["data_offsets"] = rng.choice((*_WILD, ["0", "8"], [0.0, 8.0], [True, 8], [0]))
    elif kind == "shape":
        info["shape"] = rng.choice(([0], [-1, 4], [rng.choice(_HUGE)], [1] * 10_000, [2**32, 2**32], []))
    elif kind == "shape-kind":
        info["shape"] = rng.choice(_WILD)
    elif kind == "dtype":
        info["dtype"] = rng.choice((*_WILD, "F16", "F64", "I8", "F4", "BF16"))
    elif kind == "rename":
        header[rng.choice(("", "x" * 100_000, "\x1b[2J", "__class__", "../../w"))] = header.pop(name)
    elif kind == "drop":
        del header[name]
    else:
        header[name], header[other] = header[other], header[name]
    _write_header(folder, header, numbers)
    return f"{kind} of tensor {name}"


def _header(folder: Path, rng: random.Random) -> str:
    """The header as a whole: deep, of another kind, of another length."""
    header, numbers = _read_header(folder)
    text: bytes = rng.choice(
        (
            *(b"[" * 200_000, b'{"a":' * 200_000, b"[]", b"null", b"{}", b"\xff" * 64, b'{"__metadata__": 5}'),
            *(b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 4]}}', b" " * 10**6),
        )
    )
    if rng.random() < 0.3:
        length = rng.choice((0, 1, 2**31, 2**62, 2**64 - 1, 99_999_999))
        _write_header(folder, header, numbers, length)
        return f"header of {length} bytes"
    _write_header(folder, text, numbers if rng.random() < 0.5 else b"")
    return f"header {text[:20]!r}"


def _numbers(folder: Path, rng: random.Random) -> str:
    """Weights that are no numbers, or beyond any type's range."""
    header, numbers = _read_header(folder)
    value = rng.choice((float("nan"), float("inf"), 3e38))
    _write_header(folder, header, struct.pack("<f", value) * (len(numbers) // 4))
    return f"all weights {value}"


def _pickles(folder: Path, rng: random.Random) -> str:
    """Pickled weights that run code when they are read, instead of safetensors or beside them."""

    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {folder.parent / MARKER}",)

    name = rng.choice(("pytorch_model.bin", "model.pt", "weights.pkl", WEIGHTS))
    beside = name != WEIGHTS and rng.random() < 0.5
    (folder / name).write_bytes(pickle.dumps(Payload()))
    if not beside and name != WEIGHTS:
        (folder / WEIGHTS).unlink()
    return f"pickle {name}{' beside the weights' if beside else ''}"


def _index(folder: Path, rng: random.Random) -> str:
    """An index whose files lead out of the folder, are missing or of wrong kinds."""
    name = rng.choice(
        (
            "../outside.safetensors",
            "/etc/passwd",
            "",
            ".",
            "..",
            CONFIG,
            "absent.safetensors",
            "a\0b",
            "x" * 5000,
            *_WILD,
        )
    )
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}), encoding="utf-8")
    return f"index names {str(name)[:30]!r}"


# -- configuration --------------------------------------------------------------------------------


def _edit(file: Path, change: Callable[[dict[str, Any]], str]) -> str:
    content = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    words = change(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    return f"{file.name}: {words}"


def _config_kind(folder: Path, rng: random.Random) -> str:
    """Values of other kinds."""

    def change(config: dict[str, Any]) -> str:
        name = rng.choice([*config, "rope_scaling", "quantization_config", "torch_dtype", "text_config"])
        config[name] = rng.choice(_WILD)
        return f"{name} = {str(config[name])[:30]!r}"

    return _edit(folder / CONFIG, change)


def _config_size(folder: Path, rng: random.Random) -> str:
    """Enormous or impossible counts."""

    def change(config: dict[str, Any]) -> str:
        name = rng.choice(_SIZES)
        config[name] = rng.choice((*_HUGE, 10**6, 10**9, 0, -1, 3, 7))
        return f"{name} = {config[name]}"

    return _edit(folder / CONFIG, change)


def _remote_code(folder: Path, rng: random.Random) -> str:
    """Code of its own, asked for in one of the files."""
    script = f"import pathlib\npathlib.Path({str(folder.parent / MARKER)!r}).touch()\nclass Model: pass\n"
    for name in ("modeling.py", "configuration.py", "tokenization.py"):
        (folder / name).write_text(script, encoding="utf-8")

    def change(content: dict[str, Any]) -> str:
        auto = {"AutoConfig": "configuration.Model", "AutoModelForCausalLM": "modeling.Model"}
        content["auto_map"] = rng.choice((auto, {"AutoTokenizer": ["tokenization.Model", None]}, None, []))
        return "auto_map"

    return _edit(folder / rng.choice((CONFIG, "tokenizer_config.json")), change)


# -- tokenizer ------------------------------------------------------------------------------------


def _deep_change(value: Any, rng: random.Random, depth: int = 0) -> Any:
    if depth > 5 or rng.random() < 0.2 or not value or not isinstance(value, dict | list):
        return rng.choice(_WILD)
    if isinstance(value, dict):
        name = rng.choice(list(value))
        return {**value, name: _deep_change(value[name], rng, depth + 1)}
    place = rng.randrange(len(value))
    return [*value[:place], _deep_change(value[place], rng, depth + 1), *value[place + 1 :]]


def _tokenizer_kind(folder: Path, rng: random.Random) -> str:
    """One value anywhere in the tokenizer's files."""
    file = folder / rng.choice((TOKENIZER, TOKENIZER, "tokenizer_config.json"))
    changed = _deep_change(json.loads(file.read_text(encoding="utf-8")), rng)
    file.write_text(json.dumps(changed), encoding="utf-8")
    return f"a value of {file.name}"


def _tokenizer_shape(folder: Path, rng: random.Random) -> str:
    """Vocabularies, merges and rules that are absurd or refer to themselves."""
    kind = rng.choice(("ids", "negative", "cycle", "merges", "regex", "sequence", "added", "many"))

    def change(content: dict[str, Any]) -> str:
        model = content["model"]
        if kind == "ids":
            model["vocab"] = {word: rng.choice(_HUGE[:4]) + place for place, word in enumerate(model["vocab"])}
        elif kind == "negative":
            model["vocab"] = dict.fromkeys(model["vocab"], -1)
        elif kind == "cycle":  # a word that is made of itself
            model["vocab"]["aa"] = model["vocab"]["a"]
            model["merges"] = [["a", "aa"], ["aa", "a"], ["aa", "aa"]]
        elif kind == "merges":
            model["merges"] = [["nobody", "knows"]] * 3
        elif kind == "regex":
            rule = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
            content["pre_tokenizer"] = rule
        elif kind == "sequence":
            step: dict[str, Any] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
            for _ in range(rng.choice((3, 500, 40_000))):
                step = {"type": "Sequence", "pretokenizers": [step]}
            content["pre_tokenizer"] = None
            text = json.dumps(content)[:-1] + ', "pre_tokenizer": ' + _nested(step) + "}"
            (folder / TOKENIZER).write_text(text, encoding="utf-8")
        elif kind == "added":
            content["added_tokens"] = [
                {**token, "id": 2**31 + place} for place, token in enumerate(content["added_tokens"])
            ]
        else:
            model["vocab"] |= {f"word{place}": 1000 + place for place in range(20_000)}
        return kind

    if kind == "sequence":
        change(json.loads((folder / TOKENIZER).read_text(encoding="utf-8")))
        return f"{TOKENIZER}: {kind}"
    return _edit(folder / TOKENIZER, change)


def _nested(step: Any) -> str:
    """JSON of steps within steps, without the recursion that ``json`` would need."""
    depth = 0
    while "pretokenizers" in step:
        step, depth = step["pretokenizers"][0], depth + 1
    return '{"type": "Sequence", "pretokenizers": [' * depth + json.dumps(step) + "]}" * depth


def _template(folder: Path, rng: random.Random) -> str:
    """A chat template that reaches for Python, never ends well, or breaks."""
    template = rng.choice(_TEMPLATES)

    def change(content: dict[str, Any]) -> str:
        content["chat_template"] = template
        return f"template {template[:40]!r}"

    if rng.random() < 0.3:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        return f"chat_template.jinja {template[:40]!r}"
    return _edit(folder / "tokenizer_config.json", change)


CHECKPOINT_CASES: dict[Case, int] = {
    _replace_file: 12,
    _add_file: 6,
    _damage_bytes: 10,
    _no_json: 8,
    _tensor: 14,
    _header: 6,
    _numbers: 2,
    _pickles: 4,
    _index: 4,
    _config_kind: 10,
    _config_size: 10,
    _remote_code: 3,
    _tokenizer_kind: 10,
    _tokenizer_shape: 8,
    _template: 8,
}


# -- GGUF -----------------------------------------------------------------------------------------


def _gguf_counts(file: Path, rng: random.Random) -> str:
    """How many tensors and keys the file claims to hold, and its version."""
    content = bytearray(file.read_bytes())
    place, layout = rng.choice(((4, "<I"), (8, "<Q"), (16, "<Q")))
    value = rng.choice((0, 1, 2**31, 2**32 - 1)) if layout == "<I" else rng.choice((0, 1, 2**31, 2**60, 2**64 - 1))
    struct.pack_into(layout, content, place, value)
    file.write_bytes(content)
    return f"{value} at {place}"


def _gguf_key(file: Path, rng: random.Random) -> str:
    """One more key: a list or text of 2⁶⁰ items, lists within lists, an alignment, a second of the same name."""
    kind = rng.choice(("list", "text", "deep", "alignment", "kind", "twice"))
    name = b"general.alignment" if kind == "alignment" else b"general.architecture" if kind == "twice" else b"more"
    value = {
        "list": struct.pack("<IIQ", 9, rng.choice((0, 4, 8, 10)), 2**60),
        "text": struct.pack("<IQ", 8, 2**60),
        "deep": struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 100_000,
        "alignment": struct.pack("<II", 4, rng.choice((0, 1, 3, 2**31))),
        "kind": struct.pack("<II", rng.choice((13, 255, 2**31)), 0),
        "twice": struct.pack("<IQ", 8, 5) + b"qwen2",
    }[kind]
    content = bytearray(file.read_bytes())
    (keys,) = struct.unpack_from("<Q", content, 16)
    struct.pack_into("<Q", content, 16, keys + 1)
    content[24:24] = struct.pack("<Q", len(name)) + name + value
    file.write_bytes(content)
    return f"key with {kind}"


def _gguf_value(file: Path, rng: random.Random) -> str:
    """One whole number of the metadata: heads, layers, ids, sizes."""
    content = bytearray(file.read_bytes())
    names = (
        *(b"llama.attention.head_count", b"llama.attention.head_count_kv", b"llama.block_count"),
        *(b"llama.embedding_length", b"llama.context_length", b"llama.feed_forward_length", b"llama.vocab_size"),
        *(b"llama.rope.dimension_count", b"llama.attention.key_length", b"llama.attention.value_length"),
        *(b"tokenizer.ggml.bos_token_id", b"tokenizer.ggml.eos_token_id", b"tokenizer.ggml.padding_token_id"),
    )
    present = [name for name in names if struct.pack("<Q", len(name)) + name in content]
    name = rng.choice(present)
    place = content.index(struct.pack("<Q", len(name)) + name) + 8 + len(name)
    value = rng.choice((0, 1, 3, 7, 1000, 10**6, 2**31, 2**32 - 1))
    struct.pack_into("<I", content, place + 4, value)
    if rng.random() < 0.2:
        struct.pack_into("<I", content, place, rng.choice((0, 5, 6, 7, 8, 9)))
    file.write_bytes(content)
    return f"{name.decode()} = {value}"


def _gguf_tensor(file: Path, rng: random.Random) -> str:
    """Dimensions, type or offset of a tensor."""
    content = bytearray(file.read_bytes())
    name = rng.choice((b"token_embd.weight", b"output_norm.weight", b"blk.0.attn_q.weight", b"blk.1.ffn_down.weight"))
    place = content.index(struct.pack("<Q", len(name)) + name) + 8 + len(name)
    (dimensions,) = struct.unpack_from("<I", content, place)
    kind = rng.choice(("dimensions", "size", "type", "offset", "name"))
    if kind == "dimensions":
        struct.pack_into("<I", content, place, rng.choice((0, 5, 2**31)))
    elif kind == "size":
        struct.pack_into("<Q", content, place + 4, rng.choice((0, 1, 2**32, 2**60, 2**64 - 1)))
    elif kind == "type":
        struct.pack_into("<I", content, place + 4 + 8 * dimensions, rng.choice((1, 2, 8, 14, 30, 99, 2**31)))
    elif kind == "offset":
        offset = rng.choice((0, 1, 32, 2**32, 2**60, 2**64 - 32))
        struct.pack_into("<Q", content, place + 8 + 8 * dimensions, offset)
    else:
        content[place - len(name) : place] = rng.choice((b"\xff" * len(name), b"x" * len(name)))
    file.write_bytes(content)
    return f"{kind} of {name.decode()}"


def _gguf_bytes(file: Path, rng: random.Random) -> str:
    """Bits, bytes or the end."""
    content = bytearray(file.read_bytes())
    kind, place = rng.choice(("bit", "bytes", "cut", "longer")), rng.randrange(12_000)
    if kind == "bit":
        content[place] ^= 1 << rng.randrange(8)
    elif kind == "bytes":
        content[place : place + 8] = rng.randbytes(8)
    elif kind == "cut":
        del content[rng.randrange(len(content)) :]
    else:
        content += rng.randbytes(1000)
    file.write_bytes(content)
    return f"{kind} at {place}"


def _gguf_kind(file: Path, rng: random.Random) -> str:
    """Something else in place of the file."""
    file.unlink()
    kind = rng.choice(("fifo", "folder", "zero", "passwd", "loop", "empty"))
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "empty":
        file.touch()
    else:
        file.symlink_to({"zero": "/dev/zero", "passwd": "/etc/passwd", "loop": file.name}[kind])
    return f"{kind} as {file.name}"


GGUF_CASES: dict[Case, int] = {
    _gguf_counts: 8,
    _gguf_key: 8,
    _gguf_value: 12,
    _gguf_tensor: 12,
    _gguf_bytes: 14,
    _gguf_kind: 4,
}


def make_hostile(checkpoint: Path, gguf: Path, folder: Path, rng: random.Random) -> tuple[Path, str]:
    """A hostile model under ``folder``, made of a good one: its path and what is wrong with it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if rng.random() < 0.3:
        model = folder / "model.gguf"
        shutil.copyfile(gguf, model)
        cases = GGUF_CASES
    else:
        model = folder / "model"
        shutil.copytree(checkpoint, model)
        cases = CHECKPOINT_CASES
    case = rng.choices(list(cases), list(cases.values()))[0]
    return model, case(model, rng)
