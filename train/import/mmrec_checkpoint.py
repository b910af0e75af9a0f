#!/usr/bin/env python3
"""Imports MM-Rec checkpoints of PyTorch into the form that train, evaluate and generate read, and
exports them back. docs/import-from-pytorch.md is the guide.

    mmrec_checkpoint.py import IN.pt|IN.safetensors --tokenizer vocabulary.json --out FOLDER
    mmrec_checkpoint.py export FOLDER OUT.pt|OUT.safetensors

Safetensors files need nothing but Python 3.9; PyTorch is imported where a .pt file is read or
written.
"""

import argparse
import array
import ctypes
import fnmatch
import json
import math
import mmap
import os
import pathlib
import re
import shutil
import struct
import sys
import warnings
import zipfile
import zlib

# The fields of config.json with the values that they have where neither the input, nor the shapes
# of its tensors, nor an option says otherwise. None: there must be a value.
FIELDS = {
    "arch": "mmrec",
    "vocab_size": None,
    "dim": None,
    "layers": None,
    "heads": None,
    "max_seq": 1024,
    "mem_slots": 1024,
    "hem": True,
    "dpg": False,
    "dpg_rank": 128,
    "uboo": False,
    "lambda_p": 0.1,
    "chunk_size": 0,
    "carry_state": False,
    "memory": "random",
    "gates": "drawn",
}
# The names of the same fields in the model_config of PyTorch's checkpoints.
PYTORCH_FIELDS = {
    "model_dim": "dim",
    "num_layers": "layers",
    "num_heads": "heads",
    "max_seq_len": "max_seq",
    "use_hem": "hem",
    "use_dpg": "dpg",
    "use_uboo": "uboo",
    "lambda_P": "lambda_p",
}
BANK_SLOTS = 1024  # slots of mem_dim numbers in a bank of the PyTorch model
POOLED = 16  # slots of a bank that make one slot of the top level, which attention reads
STATE_DICTS = ("model_state_dict", "state_dict", "model")  # usual names of a state dict in a .pt
CONFIGS = ("model_config", "config")  # usual names of the configuration beside it
RECORD = "mmrec"  # what export adds, so that import gives the same checkpoint again
WRAPPERS = ("module", "_orig_mod")  # parts of names that DataParallel and torch.compile add
FORMAT = 2  # of state.json
ELEMENT_BYTES = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8}
SHOWN_NAMES = 8  # of a list in a message


class Problem(Exception):
    """Ends the program with a message: what is wrong, where, and what to do."""


class Tensor:
    """A tensor of a file: dtype (F32, BF16, .. as in safetensors), shape, and a function that
    returns its bytes, little-endian and in row-major order. So only one tensor at a time need be
    in memory."""

    def __init__(self, dtype, shape, read):
        self.dtype, self.shape, self.read = dtype, tuple(shape), read

    def float32(self):
        """Returns the bytes as float32. The bytes of a float32 tensor are not changed."""
        data = memoryview(self.read())
        if self.dtype == "F32":
            return data
        if self.dtype == "BF16":  # the upper half of a float32
            wide = bytearray(2 * len(data))
            wide[2::4], wide[3::4] = bytes(data[0::2]), bytes(data[1::2])
            return memoryview(wide)
        letter = {"F16": "e", "F64": "d"}[self.dtype]
        values = (value for (value,) in struct.iter_unpack("<" + letter, data))
        return memoryview(array.array("f", values)).cast("B")


def in_words(shape):
    return "[" + ", ".join(map(str, shape)) + "]"


def listed(names):
    names = sorted(names)
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


# ---- files --------------------------------------------------------------------------------------


def parse_json(text, where):
    try:
        return json.loads(text)
    except ValueError as error:  # also for bytes that are not UTF-8
        raise Problem(f"{where}: not valid JSON: {error}")


def read_json(path):
    return parse_json(path.read_bytes(), path)


def compact(value):
    """Returns JSON as the C++ programs write it, on which state.json's checksum depends."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def read_safetensors(path):
    """Returns the tensors of a file by name, and its metadata."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size < 8:
            raise Problem(f"{path}: too short for a safetensors file")
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    (length,) = struct.unpack("<Q", content[:8])
    if length > len(content) - 8:
        raise Problem(f"{path}: not a safetensors file, or truncated: its header has no end")
    header = parse_json(bytes(content[8 : 8 + length]), f"{path}: header")
    if not isinstance(header, dict):
        raise Problem(f"{path}: its header is not a JSON object")
    data = content[8 + length :]
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise Problem(f"{path}: its metadata are not a JSON object")
    tensors = {}
    for name, entry in header.items():
        try:
            dtype, shape = entry["dtype"], [int(extent) for extent in entry["shape"]]
            begin, end = entry["data_offsets"]
            fits = 0 <= begin <= end <= len(data)
        except (KeyError, TypeError, ValueError):
            raise Problem(f"{path}: tensor {name}: expected dtype, shape and data_offsets")
        if not fits:
            raise Problem(f"{path}: tensor {name} ends beyond the file: it is truncated or damaged")
        size = ELEMENT_BYTES.get(dtype)
        if size and size * math.prod(shape) != end - begin:
            raise Problem(f"{path}: tensor {name}: {end - begin} bytes are not of its shape")
        tensors[name] = Tensor(dtype, shape, lambda begin=begin, end=end: data[begin:end])
    return tensors, metadata


class SummedFile:
    """A new file that counts its bytes and their CRC-32, and is on disk when it is closed."""

    def __init__(self, path):
        self.file, self.bytes, self.crc32 = open(path, "xb"), 0, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()

    def write(self, data):
        self.file.write(data)
        self.bytes += len(data)
        self.crc32 = zlib.crc32(data, self.crc32)

    def sum(self):
        return {"bytes": self.bytes, "crc32": f"{self.crc32:08x}"}


def write_text(path, text):
    """Returns the file's entry in state.json."""
    with SummedFile(path) as file:
        file.write(text.encode())
    return file.sum()


def write_safetensors(path, tensors, metadata=None):
    """Writes tensors as float32, in the order of their names. Returns the file's entry in
    state.json."""
    header, offset = {"__metadata__": metadata} if metadata else {}, 0
    for name, tensor in sorted(tensors.items()):
        end = offset + 4 * math.prod(tensor.shape)
        header[name] = {"data_offsets": [offset, end], "dtype": "F32", "shape": tensor.shape}
        offset = end
    text = compact(header).encode()
    text += b" " * (-(8 + len(text)) % 64)  # the data are aligned
    with SummedFile(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, tensor in sorted(tensors.items()):
            values = tensor.float32()
            # Finite floats have a finite sum in double precision.
            if not math.isfinite(sum(values.cast("f"))):
                raise Problem(f"tensor {name} has values that are not finite in float32")
            file.write(values)
    return file.sum()


def import_torch(path):
    warnings.filterwarnings("ignore", "Failed to initialize NumPy")  # which is not needed
    try:
        import torch
    except ImportError:
        raise Problem(
            f"{path}: .pt files need PyTorch, which this Python has not ({sys.executable}); "
            "install it into a virtual environment, or use safetensors "
            "(docs/import-from-pytorch.md shows both)"
        )
    return torch


def read_pt(path):
    """Returns the content of a .pt file: as a rule a dict."""
    torch = import_torch(path)
    try:
        # A file in the format before PyTorch 1.6 is no zip archive and can not be mapped.
        return torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except Exception as error:  # pickle's, zip's and PyTorch's own
        reason = str(error).strip().split("\n")[0]
        raise Problem(
            f"{path}: PyTorch can not read it as tensors and plain values: {reason}\n"
            "If it holds other Python objects, save its state dict and a plain dict of its "
            "configuration to a new file (docs/import-from-pytorch.md shows how)"
        )


def from_torch(value):
    torch = sys.modules["torch"]
    dtypes = {
        torch.float32: "F32",
        torch.float16: "F16",
        torch.bfloat16: "BF16",
        torch.float64: "F64",
    }

    def read():
        whole = value.detach().contiguous()
        return ctypes.string_at(whole.data_ptr(), whole.numel() * whole.element_size())

    return Tensor(dtypes.get(value.dtype, str(value.dtype)), value.shape, read)


def to_torch(torch, tensor):
    return torch.frombuffer(bytearray(tensor.float32()), dtype=torch.float32).reshape(tensor.shape)


def is_pt(path):
    return path.suffix in (".pt", ".pth", ".bin", ".ckpt")


def check_new(path):
    if path.exists() or path.is_symlink():
        raise Problem(f"{path} exists already; choose another name, or remove it")
    if not path.absolute().parent.is_dir():
        raise Problem(f"{path}: there is no folder {path.parent}; make it first")


# ---- the model ----------------------------------------------------------------------------------


def expected_shapes(config):
    """Returns the shape of every parameter by name."""
    D, R = config["dim"], config["dim"] // 4
    shapes = {"embedding.weight": (config["vocab_size"], D), "norm.weight": (D,)}

    def linear(name, rows, columns):
        shapes[name + ".weight"], shapes[name + ".bias"] = (rows, columns), (rows,)

    for layer in range(config["layers"]):
        block = f"blocks.{layer}."
        shapes[block + "norm1.weight"] = shapes[block + "norm2.weight"] = (D,)
        if config["hem"]:
            linear(block + "W_fused", 6 * D, D)
        else:
            for part in "qkvz":
                linear(block + "W_" + part, D, D)
        linear(block + "W_g", D, D)
        linear(block + "mdi.W_g", D, 2 * D)
        for mlp in ("W_gamma", "W_context"):
            linear(f"{block}mdi.{mlp}.0", R, D)
            linear(f"{block}mdi.{mlp}.2", D, R)
        linear(block + "multi_mem_attention.W_q", D, D)
        linear(block + "multi_mem_attention.W_o", D, D)
        linear(block + "ffn.0", 4 * D, D)
        linear(block + "ffn.3", D, 4 * D)
        if config["dpg"]:
            linear(block + "W_gamma_down", config["dpg_rank"], D)
            linear(block + "W_gamma_up", D, config["dpg_rank"])
        if config["uboo"]:
            for mlp in ("error", "target"):
                linear(f"{block}mdi.W_planning_{mlp}.0", D, D)
                linear(f"{block}mdi.W_planning_{mlp}.2", D, D)
        if config["memory"] == "learned":
            slots = (config["mem_slots"] // POOLED, D)
            shapes[block + "memory.k"] = shapes[block + "memory.v"] = slots
    return shapes


def plain_names(tensors, prefix, path):
    """Returns the tensors by their documented names: without the parts of WRAPPERS, and without the
    prefix of the model. With a given prefix, all tensors without it are left out."""
    plain = {}
    for name, tensor in tensors.items():
        short = ".".join(part for part in name.split(".") if part not in WRAPPERS)
        if short in plain:
            raise Problem(f"{path}: two tensors are called {short} but for the parts of wrappers")
        plain[short] = tensor
    if prefix is None:
        anchor = "embedding.weight"
        found = [
            name[: -len(anchor)] for name in plain if name == anchor or name.endswith("." + anchor)
        ]
        if len(found) > 1:
            choices = ", ".join(repr(each) for each in sorted(found))
            raise Problem(f"{path}: several models, with prefixes {choices}; choose by --prefix")
        if not found:
            raise Problem(
                f"{path}: there is no tensor {anchor}, so it is no MM-Rec model with the "
                f"documented names; its tensors are {listed(tensors) or 'none'}"
            )
        own = found[0]
        return {
            name[len(own) :] if name.startswith(own) else name: each for name, each in plain.items()
        }
    chosen = {name[len(prefix) :]: each for name, each in plain.items() if name.startswith(prefix)}
    if "embedding.weight" not in chosen:
        raise Problem(f"{path}: there is no tensor {prefix}embedding.weight; check --prefix")
    return chosen


def drop_tied_head(tensors, path):
    """Removes the copies of the embedding that tied weights leave in a state dict."""
    embedding = tensors["embedding.weight"]
    for name, tensor in list(tensors.items()):
        if name.startswith(("embedding.", "blocks.")) or tensor.shape != embedding.shape:
            continue
        if not {tensor.dtype, embedding.dtype} <= ELEMENT_BYTES.keys():
            continue
        if tensor.float32() != embedding.float32():
            raise Problem(
                f"{path}: {name} has the shape of embedding.weight and other values; here the "
                "output head is the embedding (tied weights), so this model can not be imported"
            )
        del tensors[name]


def inferred_fields(tensors, path):
    """Returns the fields of the configuration that the tensors' names and shapes determine."""
    embedding = tensors["embedding.weight"].shape
    if len(embedding) != 2 or 0 in embedding:
        raise Problem(f"{path}: embedding.weight has shape {in_words(embedding)}, not [V, D]")
    rows = {}  # of each part of a block
    layers = 0
    for name, tensor in tensors.items():
        if match := re.fullmatch(r"blocks\.(\d{1,4})\.(.+)", name):
            layers = max(layers, int(match[1]) + 1)
            rows.setdefault(match[2], tensor.shape[0] if tensor.shape else 0)
    if not layers:
        raise Problem(f"{path}: there are no blocks (tensors blocks.0.*)")
    fields = {
        "vocab_size": embedding[0],
        "dim": embedding[1],
        "layers": layers,
        "hem": "W_fused.weight" in rows,
        "dpg": "W_gamma_down.weight" in rows,
        "uboo": any(part.startswith("mdi.W_planning_") for part in rows),
        "memory": "learned" if "memory.k" in rows else "random",
    }
    if fields["dpg"]:
        fields["dpg_rank"] = rows["W_gamma_down.weight"]
    if fields["memory"] == "learned":
        fields["mem_slots"] = rows["memory.k"] * POOLED
    return fields


def check_tensors(tensors, config, path):
    """Throws unless the tensors are those of the configuration; names all that are not."""
    expected = expected_shapes(config)
    unexpected = tensors.keys() - expected.keys()
    problems = []
    if missing := expected.keys() - tensors.keys():
        problems.append(f"missing: {listed(missing)}")
    if unexpected:
        problems.append(f"unexpected: {listed(unexpected)} (--ignore NAME leaves one out)")
    if wrong := [
        f"{name} {in_words(tensors[name].shape)} in place of {in_words(shape)}"
        for name, shape in expected.items()
        if name in tensors and tensors[name].shape != shape
    ]:
        problems.append(f"of wrong shape: {listed(wrong)}")
    if other := [
        f"{name} ({tensor.dtype})"
        for name, tensor in tensors.items()
        if name in expected and tensor.dtype not in ELEMENT_BYTES
    ]:
        problems.append(f"not of floats: {listed(other)}")
    if problems:
        raise Problem(
            f"{path}: its tensors are not those of the model:\n  " + "\n  ".join(problems)
        )


# ---- the configuration --------------------------------------------------------------------------


def checked(field, value, where):
    """Returns the value of a field after checking its name and type."""
    if field not in FIELDS:
        raise Problem(f"{where}: unknown field {field}; the fields are {', '.join(FIELDS)}")
    kind = int if FIELDS[field] is None else type(FIELDS[field])
    fits = type(value) is kind or (kind is float and type(value) is int)
    if not fits or (kind is int and not 0 <= value < 2**31):
        names = {int: "a whole number", bool: "true or false", float: "a number", str: "a string"}
        raise Problem(f"{where}: {field} must be {names[kind]}, not {compact(value)}")
    return value


def fields_of_file(config, dim, where):
    """Returns the fields in a configuration that another program wrote, whose other fields are
    only named: they may well have a meaning there."""
    if not isinstance(config, dict):
        raise Problem(f"{where}: expected a JSON object of the configuration's fields")
    fields, unused = {}, []
    for key, value in config.items():
        field = PYTORCH_FIELDS.get(key, key)
        if field in FIELDS and value is not None:
            fields[field] = checked(field, value, f"{where}: {key}")
        elif key == "mem_dim" and type(value) is int:
            # A bank narrower than the model is read as fewer slots of the model's width.
            fields.setdefault("mem_slots", BANK_SLOTS * value // dim)
        else:
            unused.append(str(key))
    if unused:
        print(f"{where}: fields not used: {listed(unused)}")
    return fields


def fields_of_options(config_file, settings, dim):
    fields = {}
    if config_file:
        fields = fields_of_file(read_json(config_file), dim, config_file)
    for setting in settings:
        field, equals, text = setting.partition("=")
        if not equals:
            raise Problem(f"--set {setting}: expected field=value")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        fields[field] = checked(field, value, f"--set {setting}")
    return fields


def make_config(inferred, options, file, path):
    """Returns all fields. Options win over the file's own configuration; the tensors say what they
    are, and a field that contradicts them is an error."""
    for source, fields in (("the options", options), (f"{path}: its configuration", file)):
        for field, value in fields.items():
            if field in inferred and inferred[field] != value:
                raise Problem(
                    f"{source}: {field} is {compact(value)}, but the tensors are of a model with "
                    f"{compact(inferred[field])}"
                )
    given = {**file, **options, **inferred}
    config = {field: given.get(field, default) for field, default in FIELDS.items()}
    if config["arch"] != "mmrec":
        raise Problem(f"{path}: arch {config['arch']} can not be imported, only mmrec can")
    if config["heads"] is None:
        raise Problem(f"{path}: the tensors do not tell the number of heads; give --set heads=N")
    if config["heads"] < 1 or config["dim"] % config["heads"]:
        raise Problem(f"{path}: heads must divide dim = {config['dim']}, not be {config['heads']}")
    if config["mem_slots"] < POOLED or config["mem_slots"] % POOLED:
        raise Problem(f"{path}: mem_slots must be a multiple of 16, not {config['mem_slots']}")
    if config["max_seq"] < 1:
        raise Problem(f"{path}: max_seq must be at least 1, not {config['max_seq']}")
    if not 0 <= config["lambda_p"] < math.inf:
        raise Problem(f"{path}: lambda_p must not be negative: {config['lambda_p']}")
    assumed = {field: value for field, value in config.items() if field not in given}
    return config, assumed


# ---- the tokenizer ------------------------------------------------------------------------------


def tokens_of(vocabulary, path):
    """Returns the tokens in the order of their ids. The vocabulary is this project's
    tokenizer.json, a list, an object token -> id or id -> token, or an object with such an object
    under char_to_id or id_to_char."""
    if isinstance(vocabulary, dict):
        for key in ("tokens", "char_to_id", "id_to_char"):
            if isinstance(vocabulary.get(key), (list, dict)):
                return tokens_of(vocabulary[key], path)
        if all(type(value) is int for value in vocabulary.values()):
            by_id = {}
            for token, id in vocabulary.items():
                if id in by_id:
                    raise Problem(f"{path}: {by_id[id]!r} and {token!r} both have the id {id}")
                by_id[id] = token
        elif all(re.fullmatch(r"\d{1,9}", key) for key in vocabulary):
            by_id = {int(key): token for key, token in vocabulary.items()}
        else:
            raise Problem(f"{path}: expected an object token -> id or id -> token")
        for id in range(len(by_id)):
            if id not in by_id:
                raise Problem(f"{path}: there are {len(by_id)} tokens, but none has the id {id}")
        return [by_id[id] for id in range(len(by_id))]
    if not isinstance(vocabulary, list):
        raise Problem(f"{path}: expected a tokenizer.json, or a list or an object of characters")
    return vocabulary


def make_tokenizer(vocabulary, vocab_size, path):
    """Returns the content of tokenizer.json."""
    tokens = list(tokens_of(vocabulary, path))
    for id, name in enumerate(("<UNK>", "<PAD>")):
        if id >= len(tokens) or str(tokens[id]).upper() not in (name, f"[{name[1:-1]}]"):
            raise Problem(
                f"{path}: id {id} must be {name}, not "
                f"{repr(tokens[id]) if id < len(tokens) else 'missing'}: the ids 0 and 1 are "
                "<UNK> and <PAD> in MM-Rec's tokenizer of characters"
            )
        tokens[id] = name
    ids = {}
    for id, token in enumerate(tokens[2:], 2):
        if not isinstance(token, str) or len(token) != 1 or 0xD800 <= ord(token) < 0xE000:
            raise Problem(f"{path}: id {id} is {token!r}, which is not one character")
        if token in ids:
            raise Problem(f"{path}: {token!r} has two ids, {ids[token]} and {id}")
        ids[token] = id
    if len(tokens) > vocab_size:
        raise Problem(
            f"{path}: {len(tokens)} tokens are more than the {vocab_size} rows of the embedding"
        )
    return {"type": "char", "tokens": tokens}


# ---- import -------------------------------------------------------------------------------------


def tensors_of(state):
    return {name: from_torch(each) for name, each in state.items() if hasattr(each, "data_ptr")}


def open_pt(path):
    """Returns the tensors of a .pt file, the configuration in it, and export's record."""
    content = read_pt(path)
    if not isinstance(content, dict):
        raise Problem(f"{path}: it holds a {type(content).__name__}, not a dict of tensors")
    state = next(
        (content[key] for key in STATE_DICTS if isinstance(content.get(key), dict)), content
    )
    tensors = tensors_of(state)
    if not tensors:
        raise Problem(
            f"{path}: neither it nor its {', '.join(STATE_DICTS)} is a dict of tensors; its keys "
            f"are {listed(map(str, content))}"
        )
    config = next((content[key] for key in CONFIGS if isinstance(content.get(key), dict)), {})
    if isinstance(content.get(RECORD), str):
        return tensors, config, parse_json(content[RECORD], f"{path}: {RECORD}")
    return tensors, config, {"step": content["step"]} if "step" in content else {}


def open_safetensors(path):
    tensors, metadata = read_safetensors(path)
    texts = (metadata[key] for key in CONFIGS if key in metadata)
    config = parse_json(next(texts, "{}"), f"{path}: metadata")
    return tensors, config, parse_json(metadata.get(RECORD, "{}"), f"{path}: metadata")


def import_checkpoint(path, tokenizer_file, out, config_file, settings, prefix, ignore):
    check_new(out)
    tensors, file_config, record = (open_pt if is_pt(path) else open_safetensors)(path)
    if not isinstance(record, dict):
        raise Problem(f"{path}: {RECORD} is not an object, as export writes it")
    tensors = plain_names(tensors, prefix, path)
    for pattern in ignore:
        for name in fnmatch.filter(tensors, pattern):
            del tensors[name]
    if "embedding.weight" not in tensors:
        raise Problem("--ignore: embedding.weight can not be left out")
    drop_tied_head(tensors, path)
    inferred = inferred_fields(tensors, path)
    config, assumed = make_config(
        inferred,
        fields_of_options(config_file, settings, inferred["dim"]),
        fields_of_file(record.get("config", file_config), inferred["dim"], path),
        path,
    )
    check_tensors(tensors, config, path)

    if tokenizer_file:
        vocabulary = read_json(tokenizer_file)
    elif "tokenizer" in record:
        vocabulary = record["tokenizer"]
    else:
        raise Problem(
            "--tokenizer is required: the file holds none, and text is read and written with it"
        )
    tokenizer = make_tokenizer(vocabulary, config["vocab_size"], tokenizer_file or path)
    write_checkpoint(out, config, tokenizer, tensors, record)
    print(f"{out}: {sum(math.prod(each.shape) for each in tensors.values())} parameters")
    print("configuration: " + ", ".join(f"{field} {compact(config[field])}" for field in config))
    if assumed:
        print(f"assumed, change with --set: {', '.join(sorted(assumed))}")


def write_checkpoint(out, config, tokenizer, tensors, record):
    """Writes a checkpoint's folder: all of it or nothing."""
    partial = out.with_name(f"{out.name}.partial-{os.getpid()}")
    partial.mkdir()
    try:
        files = {
            "config.json": write_text(
                partial / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n"
            ),
            "tokenizer.json": write_text(
                partial / "tokenizer.json",
                json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")) + "\n",
            ),
            "model.safetensors": write_safetensors(partial / "model.safetensors", tensors),
        }
        state = {"format": FORMAT, "validation_loss": None, "files": files}
        for number, end in (("step", 2**63), ("tokens", 2**63), ("seed", 2**64)):
            value = record.get(number)
            state[number] = value if type(value) is int and 0 <= value < end else 0
        state["crc32"] = f"{zlib.crc32(compact(state).encode()):08x}"
        write_text(partial / "state.json", json.dumps(state, indent=2, sort_keys=True) + "\n")
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial)
        raise


# ---- export -------------------------------------------------------------------------------------


def open_checkpoint(folder):
    """Returns configuration, tokenizer, tensors and state.json of a checkpoint, after comparing
    the files with the sizes and checksums of state.json."""
    if not (folder / "state.json").is_file():
        raise Problem(
            f"{folder}: not a checkpoint, there is no state.json; of a run give one of its "
            "checkpoints, for example best_model"
        )
    state = read_json(folder / "state.json")
    if (folder / "tokenizer.model").exists():
        raise Problem(
            f"{folder}: its tokens are SentencePiece's pieces (tokenizer.model); only models of "
            "characters can be exported"
        )
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        path, crc32, size = folder / name, 0, 0
        try:
            entry = state["files"][name]
            expected = (entry["bytes"], entry["crc32"])
        except (KeyError, TypeError):
            raise Problem(f"{folder / 'state.json'}: it does not list {name}")
        with open(path, "rb") as file:
            while piece := file.read(1 << 20):
                size, crc32 = size + len(piece), zlib.crc32(piece, crc32)
        if (size, f"{crc32:08x}") != expected:
            raise Problem(f"{path}: the file is not what was saved (its checksum differs)")
    config = read_json(folder / "config.json")
    if config.get("arch", "mmrec") != "mmrec":
        raise Problem(
            f"{folder}: its blocks are of arch {config['arch']}; only mmrec's have names in PyTorch"
        )
    tensors, _ = read_safetensors(folder / "model.safetensors")
    tokenizer = read_json(folder / "tokenizer.json")
    if tokenizer.get("type") != "char":
        raise Problem(f"{folder}: its tokens are bytes; only models of characters can be exported")
    return config, tokenizer, tensors, state


def pytorch_config(config):
    """Returns the arguments of the PyTorch model."""
    shared = ("vocab_size", "dpg_rank")
    result = {field: config[field] for field in shared if field in config}
    result.update(
        {name: config[field] for name, field in PYTORCH_FIELDS.items() if field in config}
    )
    result.update(num_memories=1, ffn_dim=4 * config["dim"])
    mem_dim, rest = divmod(config["dim"] * config["mem_slots"], BANK_SLOTS)
    if rest == 0:  # PyTorch's model has no bank of another size
        result["mem_dim"] = mem_dim
    return result


def export_checkpoint(folder, path):
    check_new(path)
    if not is_pt(path) and path.suffix != ".safetensors":
        raise Problem(f"{path}: the name must end with .pt or .safetensors, which decides the form")
    config, tokenizer, tensors, state = open_checkpoint(folder)
    record = {"config": config, "tokenizer": tokenizer}
    record.update({number: state[number] for number in ("step", "tokens", "seed")})
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        if is_pt(path):
            torch = import_torch(path)
            weights = {name: to_torch(torch, tensor) for name, tensor in tensors.items()}
            weights["lm_head.weight"] = weights["embedding.weight"]  # tied: stored once
            torch.save(
                {
                    "model_state_dict": weights,
                    "model_config": pytorch_config(config),
                    "step": state["step"],
                    RECORD: compact(record),
                },
                partial,
            )
        else:
            write_safetensors(partial, tensors, {RECORD: compact(record)})
        partial.rename(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    print(f"{path}: {len(tensors)} tensors")


# ---- command line -------------------------------------------------------------------------------


def parse_arguments():
    parser = argparse.ArgumentParser(
        description="Imports MM-Rec checkpoints of PyTorch and exports them back.",
        epilog="docs/import-from-pytorch.md is the guide.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    path = pathlib.Path
    command = commands.add_parser("import", help="make a checkpoint's folder of a file")
    command.add_argument("file", type=path, help="a .pt file or a .safetensors file")
    command.add_argument("--out", type=path, required=True, help="the folder to make")
    command.add_argument(
        "--tokenizer",
        type=path,
        help="a JSON file: a tokenizer.json, a list of characters, or an object char -> id or "
        "id -> char",
    )
    command.add_argument("--config", type=path, help="a JSON file of configuration fields")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of the configuration that the tensors do not tell, for example heads=4",
    )
    command.add_argument("--prefix", help="take only the tensors whose names begin so")
    command.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="NAME",
        help="leave a tensor out; * stands for anything",
    )
    command = commands.add_parser("export", help="make a file of a checkpoint's folder")
    command.add_argument("folder", type=path, help="a checkpoint's folder")
    command.add_argument("file", type=path, help="the .pt or .safetensors file to write")
    return parser.parse_args()


def main():
    given = parse_arguments()
    try:
        if given.command == "import":
            import_checkpoint(
                given.file,
                given.tokenizer,
                given.out,
                given.config,
                given.set,
                given.prefix,
                given.ignore,
            )
        else:
            export_checkpoint(given.folder, given.file)
    except (Problem, OSError) as problem:
        sys.exit(f"mmrec_checkpoint: {problem}")


if __name__ == "__main__":
    main()
