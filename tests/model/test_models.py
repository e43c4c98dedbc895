"""Names of models, their folders and weights, and the network that may be absent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_cellama.core.embedding import SentenceEncoder
from napari_cellama.core.events import CancelToken
from napari_cellama.core.model_files import weights_hash
from napari_cellama.errors import UserError
from napari_cellama.io import models
from napari_cellama.io.models import TokenCounter, available_models, resolve_model


@pytest.fixture
def copy(bundled, tmp_path):
    """A copy of the bundled model that may be spoilt."""
    return Path(shutil.copytree(bundled.path, tmp_path / "my model ü"))


def test_the_bundled_model(bundled):
    assert bundled.is_bundled
    assert bundled.weights_sha256 == models.BUNDLED_SHA256
    assert bundled.max_seq_length == 256
    assert resolve_model("sentence-transformers/all-MiniLM-L6-v2").path == bundled.path
    assert available_models()[0] == bundled.name


def test_a_folder_is_used_as_it_is(copy, bundled):
    model = resolve_model(f" {copy} ")
    assert (model.path, model.is_bundled) == (copy, False)
    assert model.weights_sha256 == bundled.weights_sha256


def test_altered_weights_of_the_bundled_model_are_refused(copy, monkeypatch):
    monkeypatch.setattr(models, "_bundled_folder", lambda required=True: copy)
    resolve_model("all-MiniLM-L6-v2")
    with (copy / "model.safetensors").open("r+b") as stream:
        stream.seek(50_000_000)
        byte = stream.read(1)[0]
        stream.seek(50_000_000)
        stream.write(bytes([byte ^ 1]))
    with pytest.raises(UserError, match="are not the official ones"):
        resolve_model("all-MiniLM-L6-v2")


def test_altered_weights_of_another_folder_have_another_hash(copy):
    before = resolve_model(str(copy)).weights_sha256
    with (copy / "model.safetensors").open("ab") as stream:
        stream.write(b"\0")
    assert resolve_model(str(copy)).weights_sha256 != before


def test_weights_altered_since_they_were_looked_at_are_refused(copy):
    model = resolve_model(str(copy))
    with (copy / "model.safetensors").open("r+b") as stream:
        stream.seek(50_000_000)
        stream.write(b"altered")
    encoder = SentenceEncoder(copy, weights_sha256=model.weights_sha256)
    with pytest.raises(UserError, match=r"^The weights in .* have been altered \(sha256 .*…\);"):
        encoder.load(CancelToken())


def test_missing_weights(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"The weights are missing in .*my model ü"):
        resolve_model(str(copy))
    with pytest.raises(UserError, match="The weights are missing"):
        SentenceEncoder(copy).load(CancelToken())


@pytest.mark.parametrize("part", ["", "2_Dense"])
def test_pickled_weights_are_refused(copy, part):
    modules = json.loads((copy / "modules.json").read_text())
    if part:
        (copy / part).mkdir()
        modules.append({"idx": 3, "name": "3", "path": part, "type": "x.Dense"})
        (copy / "modules.json").write_text(json.dumps(modules))
    else:
        (copy / "model.safetensors").unlink()
    (copy / part / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="are a pickle"):
        resolve_model(str(copy))


def test_a_later_module_s_weights_count_too(copy):
    before = weights_hash(copy)
    modules = json.loads((copy / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "2_Dense", "type": "x.Dense"})
    (copy / "modules.json").write_text(json.dumps(modules))
    (copy / "2_Dense").mkdir()
    (copy / "2_Dense" / "model.safetensors").write_bytes(b"one")
    one = weights_hash(copy)
    (copy / "2_Dense" / "model.safetensors").write_bytes(b"two")
    assert len({before, one, weights_hash(copy)}) == 3


def test_truncated_weights_are_one_sentence(copy):
    with (copy / "model.safetensors").open("r+b") as stream:
        stream.truncate(1_000_000)
    with pytest.raises(UserError, match=r"^The model in .* cannot be loaded: .*\.$"):
        SentenceEncoder(copy, device="cpu").load(CancelToken())


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(UserError, match="is not a sentence transformer"):
        resolve_model(str(tmp_path))


@pytest.mark.parametrize("name", ["", "a b", "../nowhere", "/nowhere/at/all", "a/b/c"])
def test_what_can_be_no_model_s_name(name):
    with pytest.raises(UserError, match="neither a folder nor a name on Hugging Face"):
        resolve_model(name)


def test_the_limit_follows_the_configuration(copy):
    assert TokenCounter(copy).limit == 256
    (copy / "sentence_bert_config.json").unlink()
    assert TokenCounter(copy).limit == 512


def test_a_default_prompt_is_counted(copy):
    plain = TokenCounter(copy).count(["Top gene is A."])
    config = {"prompts": {"cluster": "group these: "}, "default_prompt_name": "cluster"}
    (copy / "config_sentence_transformers.json").write_text(json.dumps(config))
    np.testing.assert_array_equal(TokenCounter(copy).count(["Top gene is A."]), plain + 3)


def test_counting_without_a_tokenizer_file(copy):
    (copy / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"has no tokenizer\.json"):
        TokenCounter(copy).count(["a"])


def run_python(code, **environment):
    environment = {**os.environ, "NO_PROXY": "*", **environment}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )


def test_no_network_is_one_sentence(tmp_path):
    done = run_python(
        "from napari_cellama.io.models import resolve_model\n"
        "from napari_cellama.errors import UserError\n"
        "try: resolve_model('someone/some-model')\n"
        "except UserError as error: print(error)",
        HF_ENDPOINT="http://127.0.0.1:9",
        HF_HOME=str(tmp_path),
    )
    assert done.stdout == (
        "The model 'someone/some-model' cannot be downloaded: it is not on this machine and "
        "huggingface.co cannot be reached; give a folder, or use the bundled "
        "'all-MiniLM-L6-v2'.\n"
    ), done.stderr


DOWNLOAD = """
import hashlib, http.server, json, os, threading
FILES = {"modules.json": b"[]", "config.json": b"{}", "model.safetensors": bytes(3_000_000),
         "pytorch_model.bin": b"pickle", "modeling_x.py": b"code", "onnx/model.onnx": b"no"}
SHA = "a" * 40
asked = []

class Hub(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def do_GET(self):
        path, headers, status = self.path.split("?")[0], {}, 200
        if path.startswith("/me/tiny/resolve/"):
            name = path.split("/", 5)[5]
            body = FILES[name]
            headers = {"X-Repo-Commit": SHA, "ETag": '"%s"' % hashlib.sha1(body).hexdigest()}
            asked.append(name)
        elif path.startswith("/api/models/me/tiny/tree/"):
            body = json.dumps([{"type": "file", "path": name, "size": len(text),
                "oid": hashlib.sha1(text).hexdigest()} for name, text in FILES.items()]).encode()
        elif path.startswith("/api/models/me/tiny"):
            body = json.dumps({"id": "me/tiny", "sha": SHA,
                "siblings": [{"rfilename": name} for name in FILES]}).encode()
        else:
            body, status, headers = b"{}", 404, {"X-Error-Code": "RepoNotFound"}
        self.send_response(status)
        for header in {**headers, "Content-Length": len(body)}.items():
            self.send_header(*map(str, header))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
    do_HEAD = do_GET

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
from napari_cellama.errors import Cancelled, UserError
from napari_cellama.io.models import available_models, resolve_model

def cancel(done, total): raise Cancelled
try: resolve_model("me/tiny", cancel)
except Cancelled: print("cancelled")
steps = []
model = resolve_model("me/tiny", lambda done, total: steps.append((done, total)))
print(steps[-1])
print(sorted(set(asked)))
print(model.name, len(model.weights_sha256))
try: resolve_model("me/absent")
except UserError as error: print(error)
server.shutdown(); server.server_close()
print(resolve_model("me/tiny") == model, available_models())
"""


def test_a_download_reports_takes_no_code_and_is_kept(tmp_path):
    done = run_python(DOWNLOAD, HF_HOME=str(tmp_path), HF_HUB_DISABLE_SYMLINKS_WARNING="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "cancelled",
        "(3000004, 3000004)",
        "['config.json', 'model.safetensors', 'modules.json']",
        "me/tiny 64",
        "The model 'me/absent' cannot be downloaded: there is no folder and no model of that "
        "name; the bundled one is 'all-MiniLM-L6-v2'.",
        "True ['all-MiniLM-L6-v2', 'me/tiny']",
    ]
