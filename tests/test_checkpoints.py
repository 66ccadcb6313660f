"""Weights in files: whole or not at all, never code, classifier and pyramid share theirs."""

import os
import pickle
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import mscsa
from mscsa.backbones.presets import REGISTERED
from mscsa.checkpoints import load_weights, read_state_dict, replace_durably, save_weights
from tests.small_models import CONVNEXT, PVT, RESNET


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def one_line_error(call, match: str) -> str:
    with pytest.raises(mscsa.UserError, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".pt", ".bin", ""])
@pytest.mark.parametrize("how", ["torch", "pickle", "nested"])
def test_a_malicious_pickle_is_never_executed(tmp_path, suffix, how):
    trace, path = tmp_path / "trace", tmp_path / f"bad{suffix}"
    weight = torch.zeros(2)
    if how == "pickle":
        path.write_bytes(pickle.dumps(Malicious(trace), protocol=2))
    elif how == "nested":
        torch.save({"state_dict": {"weight": weight}, "callbacks": [Malicious(trace)]}, path)
    else:
        torch.save({"weight": weight, "x": Malicious(trace)}, path)
    message = one_line_error(lambda: read_state_dict(path), "is refused: .* could run code")
    assert str(path) in message
    assert not trace.exists()


def test_the_malicious_pickle_would_work(tmp_path):
    """The test above can fail: plain unpickling does execute it."""
    pickle.loads(pickle.dumps(Malicious(tmp_path / "trace")))
    assert (tmp_path / "trace").exists()


def test_code_named_safetensors_is_refused(tmp_path):
    trace, path = tmp_path / "trace", tmp_path / "bad.safetensors"
    path.write_bytes(pickle.dumps(Malicious(trace), protocol=2))
    one_line_error(lambda: read_state_dict(path), "cannot be read: .* not safetensors")
    assert not trace.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 1, 7, 100, 0.5, 0.99])
def test_truncated_files(tmp_path, suffix, kept):
    path = tmp_path / f"weights{suffix}"
    state = {"weight": torch.rand(64, 64)}
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    one_line_error(lambda: read_state_dict(path), f"checkpoint .*weights{suffix} (cannot be read|is refused)")


@pytest.mark.parametrize(
    "content", [b"\0" * 1000, b"<html>not found</html>", random.Random(0).randbytes(500)]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_of_something_else(tmp_path, suffix, content):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    one_line_error(lambda: read_state_dict(path), "(cannot be read|is refused)")


def test_missing_files_and_folders(tmp_path):
    one_line_error(lambda: read_state_dict(tmp_path / "none.pth"), "none.pth is not there: give the path")
    one_line_error(lambda: read_state_dict(tmp_path), "is not there")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], 5, {"state_dict": {}}])
def test_files_without_weights(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    one_line_error(lambda: read_state_dict(tmp_path / "a.pth"), "holds no weights")


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict", "state_dict_ema", "model_ema"])
def test_wrappers_of_training_code(tmp_path, wrapper):
    state = {"weight": torch.rand(3)}
    torch.save(state if wrapper is None else {"epoch": 1, wrapper: state}, tmp_path / "a.pth")
    read, metadata = read_state_dict(tmp_path / "a.pth")
    assert read.keys() == state.keys() and torch.equal(read["weight"], state["weight"])
    assert metadata == {}


def test_the_averaged_weights_come_first(tmp_path):
    state, average = {"weight": torch.zeros(2)}, {"weight": torch.ones(2)}
    torch.save({"state_dict": state, "state_dict_ema": average}, tmp_path / "a.pth")
    assert torch.equal(read_state_dict(tmp_path / "a.pth")[0]["weight"], average["weight"])


@pytest.mark.parametrize("case", [RESNET, PVT], ids=lambda case: case.name)
def test_save_and_load(case, tmp_path):
    model = case.build(num_classes=3).eval()
    path = tmp_path / "new folder" / "weights.safetensors"
    save_weights(model, path, {"classes": "a,b,c"})
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"classes": "a,b,c"}
    other = case.build(num_classes=3).eval()
    torch.nn.init.ones_(other.head.weight)
    report = load_weights(other, path)
    assert set(report.matched) == set(model.state_dict())
    assert not report.missing and not report.unexpected and not report.mismatched
    image = case.image()
    assert torch.equal(other(image), model(image))
    assert read_state_dict(path)[1] == {"classes": "a,b,c"}


def test_saved_values_are_exact_whatever_their_layout(tmp_path):
    weight = torch.rand(4, 3, 5, 5).to(memory_format=torch.channels_last)
    state = {"a": weight, "b": weight, "half": torch.rand(3).half(), "count": torch.tensor(7)}
    save_weights(state, tmp_path / "w.safetensors", {})
    read = load_file(tmp_path / "w.safetensors")
    assert read.keys() == state.keys()
    assert all(
        torch.equal(read[key], value) and read[key].dtype == value.dtype for key, value in state.items()
    )


def test_the_file_is_readable_like_any_other(tmp_path):
    (tmp_path / "plain").touch()
    save_weights({"a": torch.zeros(1)}, tmp_path / "w.safetensors", {})
    assert stat.S_IMODE((tmp_path / "w.safetensors").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "plain").stat().st_mode
    )


def test_a_classifier_starts_a_pyramid_and_back():
    classifier, pyramid = PVT.build(num_classes=3), PVT.build(features_only=True)
    with torch.no_grad():
        for p in classifier.parameters():
            p.add_(0.1)
    report = load_weights(pyramid, classifier.state_dict())
    assert all(key.startswith("fusion.") for key in report.missing)
    assert {key.split(".")[0] for key in report.unexpected} == {"norm", "head"}
    assert not report.mismatched
    shared = [key for key in classifier.state_dict() if key.startswith(("backbone.", "mscsa."))]
    assert set(report.matched) == set(shared)
    assert all(torch.equal(pyramid.state_dict()[key], classifier.state_dict()[key]) for key in shared)
    back = load_weights(PVT.build(num_classes=3), pyramid.state_dict())
    assert set(back.matched) == set(shared)


@pytest.mark.filterwarnings("ignore:.*to a meta parameter")
@pytest.mark.parametrize("name", sorted(REGISTERED))
def test_both_forms_of_every_registered_model_share_enough(name):
    """The default threshold lets a classifier start a pyramid, and a pyramid a classifier of 1000."""
    with torch.device("meta"):
        classifier, pyramid = timm.create_model(name), timm.create_model(name, features_only=True)
    for target, source in ((classifier, pyramid), (pyramid, classifier)):
        report = load_weights(target, source.state_dict())
        assert all(key.startswith(("norm.", "head.", "fusion.")) for key in report.missing)


def test_a_changed_pooling_stride_loads():
    """Dense recipes start from a classifier with finer tokens (CoaT: 1/16 to 1/32)."""
    fine, coarse = PVT.build(pool_stride=16), PVT.build(features_only=True, pool_stride=64)
    report = load_weights(coarse, fine.state_dict())
    assert not report.mismatched and all(key.startswith("fusion.") for key in report.missing)


def test_another_number_of_classes_leaves_the_head_new():
    source, target = PVT.build(num_classes=3), PVT.build(num_classes=5)
    head = target.head.weight.clone()
    report = load_weights(target, source.state_dict())
    assert set(report.mismatched) == {"head.weight", "head.bias"}
    assert torch.equal(target.head.weight, head)
    assert "2 of another shape (head.weight, head.bias)" in str(report)


@pytest.mark.filterwarnings("ignore:.*to a meta parameter")
def test_a_new_head_does_not_count_as_a_poor_match():
    """TopFormer-T's classifier of 1000 classes alone holds an eighth of its values."""
    with torch.device("meta"):
        source, target = (timm.create_model("mscsa_topformer_tiny", num_classes=n) for n in (10, 1000))
    assert load_weights(target, source.state_dict()).mismatched == ("head.weight", "head.bias")


def test_a_checkpoint_of_another_model_is_refused_and_changes_nothing(tmp_path):
    save_weights(RESNET.build(), tmp_path / "resnet.safetensors", {})
    model = PVT.build()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    message = one_line_error(
        lambda: load_weights(model, tmp_path / "resnet.safetensors"),
        r"resnet.safetensors fills \d+% of this model .* at least 90% expected: it is of another model",
    )
    assert "matched" in message and "missing" in message and "unexpected" in message
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_min_matched():
    model = PVT.build()
    part = {k: v for k, v in model.state_dict().items() if k.startswith("backbone.stages.3.")}
    one_line_error(lambda: load_weights(model, part), "at least 90% expected")
    assert set(load_weights(model, part, min_matched=0.2).matched) == set(part)
    assert load_weights(model, {}, min_matched=0).matched == ()
    one_line_error(lambda: load_weights(model, {}, min_matched=0.01), "fills 0%")


def test_a_plain_timm_checkpoint_is_refused():
    """Its keys lack the prefix; it is `pretrained` that loads a backbone's weights."""
    plain = timm.create_model(CONVNEXT.name)
    one_line_error(lambda: load_weights(CONVNEXT.build(), plain.state_dict()), "of another model")


def test_an_existing_file_survives_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    """As the superuser may write anywhere, the folder's refusal is simulated where it would come from."""
    path = tmp_path / "w.safetensors"
    save_weights({"a": torch.zeros(2)}, path, {})

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    one_line_error(
        lambda: save_weights({"a": torch.ones(2)}, path, {}),
        "cannot write .*w.safetensors: Permission denied; the previous file, if any, is unchanged",
    )
    assert torch.equal(load_file(path)["a"], torch.zeros(2))
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_a_folder_in_whose_place_lies_a_file(tmp_path):
    (tmp_path / "file").touch()
    one_line_error(
        lambda: save_weights({"a": torch.ones(2)}, tmp_path / "file" / "w.safetensors", {}), "cannot write"
    )


LIMITED = """
import resource, signal, sys, torch
from mscsa.checkpoints import save_weights
from mscsa.errors import UserError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    save_weights({"a": torch.ones(10_000)}, sys.argv[1], {})
except UserError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_previous_file(tmp_path):
    """A limit on the file size is refused by the kernel in the middle of the write, like a full disk."""
    path = tmp_path / "w.safetensors"
    save_weights({"a": torch.zeros(2)}, path, {})
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True
    )
    assert "cannot write" in run.stdout and "the previous file, if any, is unchanged" in run.stdout
    assert run.stdout.count("\n") == 1
    assert torch.equal(load_file(path)["a"], torch.zeros(2))
    assert os.listdir(tmp_path) == ["w.safetensors"]


SAVING = """
import sys, torch
from mscsa.checkpoints import save_weights
print("ready", flush=True)
count = 0
while True:
    count += 1
    save_weights({"a": torch.full((500_000,), float(count))}, sys.argv[1], {"count": str(count)})
    print(count, flush=True)
"""


@pytest.mark.parametrize("delay", [0.013, 0.031])
def test_a_kill_during_a_save_leaves_a_whole_file(tmp_path, delay):
    path = tmp_path / "w.safetensors"
    process = subprocess.Popen([sys.executable, "-c", SAVING, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while process.stdout.readline().strip() != "3":  # some saves are done, others run
        assert process.poll() is None
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    state, metadata = read_state_dict(path)
    assert int(metadata["count"]) >= 3
    assert torch.equal(state["a"], torch.full((500_000,), float(metadata["count"])))


def test_a_kill_before_the_replacement_leaves_the_previous_file(tmp_path):
    """Stop the save between the writing and the renaming, where a plain write would have lost both."""
    path = tmp_path / "w.safetensors"
    save_weights({"a": torch.zeros(2)}, path, {})
    script = (
        "import os, signal, sys, torch, mscsa.checkpoints as c\n"
        "c.replace_durably = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "c.save_weights({'a': torch.ones(2)}, sys.argv[1], {})"
    )
    run = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert run.returncode == -signal.SIGKILL
    assert torch.equal(load_file(path)["a"], torch.zeros(2))


def test_replace_durably(tmp_path):
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"old")
    replace_durably(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == b"new" and not (tmp_path / "new").exists()
