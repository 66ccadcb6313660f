"""What a GPU does differently: rounding, half precision, programs, graphs, and what resumes bit for bit."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import mscsa
from mscsa.backbones.presets import REGISTERED
from mscsa.cost.model_pair import build_pair
from mscsa.evaluation.running import matmul_precision
from mscsa.recipes.spec import RunSpec
from mscsa.segmentation import build_segmenter
from mscsa.speed.bench import bench_model
from mscsa.speed.steps import StepOptions, build_step
from mscsa.training.arithmetic import arithmetic
from mscsa.training.segmentation_loss import SegmentationLoss
from tests.training.processes import run
from tests.training.small_runs import small_recipe, train_logging
from tests.training.whole_runs.test_resume import assert_same_run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SIZE = (224, 224)


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    difference = (ours.double().cpu() - theirs.double().cpu()).norm() / theirs.double().cpu().norm()
    return float(difference)


@pytest.mark.parametrize("name", sorted(REGISTERED))
def test_gpu_gives_what_the_cpu_gives(name: str) -> None:
    torch.manual_seed(0)
    model = mscsa.create_model(name, num_classes=10).eval()
    image = torch.randn(2, 3, *SIZE)
    with torch.inference_mode(), matmul_precision("highest"):
        expected = model(image)
        torch.backends.cudnn.allow_tf32 = False
        on_gpu = model.cuda()(image.cuda())
        folded = mscsa.fold_norms(model)(image.cuda())
        half = model.to(torch.bfloat16)(image.cuda().to(torch.bfloat16))
    assert relative_difference(on_gpu, expected) < 1e-4
    assert relative_difference(folded, expected) < 1e-4
    assert relative_difference(half, expected) < 0.1


def test_one_program_without_a_break() -> None:
    model = mscsa.create_model("mscsa_resnet18").eval().cuda()
    image = torch.randn(2, 3, *SIZE, device="cuda")
    with torch.inference_mode():
        expected = model(image)
        compiled = torch.compile(model, fullgraph=True)(image)
    assert relative_difference(compiled, expected) < 1e-2


def test_a_cuda_graph_computes_the_same() -> None:
    model = mscsa.create_model("mscsa_pvt_v2_b0")
    answers: list[Tensor] = []
    model.register_forward_hook(lambda module, args, out: answers.append(out))
    step = build_step(model, "inference", 2, SIZE, StepOptions(device="cuda", cuda_graph=True))
    expected = answers[0].clone()
    with torch.inference_mode():
        answers[-1].zero_()
    step()
    assert relative_difference(answers[-1], expected) < 1e-3


@pytest.mark.parametrize("head", ["semantic_fpn", "mask_rcnn", "retinanet", "deformable_detr"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_steps_in_half_precision(head: str, dtype: str) -> None:
    pair = build_pair("resnet18", head=head)
    options = StepOptions(device="cuda", dtype=dtype, channels_last=True)  # type: ignore[arg-type]
    build_step(pair.model, "training", 1, (256, 256), options)()
    assert all(p.isfinite().all() for p in pair.model.parameters())
    build_step(pair.model, "inference", 1, (256, 256), options)()


def test_bench_times_and_weighs() -> None:
    found = bench_model(
        {"name": "resnet18"},
        SIZE,
        batch_sizes=(2,),
        modes=("inference", "training"),
        options=StepOptions(device="cuda", dtype="bfloat16"),
        rounds=5,
        threads=None,
        with_memory=True,
    )
    assert len(found.comparisons) == 2
    assert {each.how for each in found.memory} == {"torch.cuda.max_memory_allocated"}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_deterministic_runs_resume_exactly(tmp_path: Path, precision: str) -> None:
    recipe = small_recipe(accelerator="gpu", precision=precision, deterministic=True)
    recipe = replace(recipe, model=replace(recipe.model, name="resnet10t"))
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert run(train_logging, recipe, whole) == 0
    assert run(train_logging, recipe, folder, False, {8: (signal.SIGKILL,)}) == -signal.SIGKILL
    assert run(train_logging, recipe, folder, True) == 0
    assert_same_run(folder, whole)


@pytest.mark.parametrize("name", ["mscsa_resnet18", "mscsa_pvt_v2_b0", "p2t_tiny"])
def test_deterministic_steps_of_segmenters(name: str) -> None:
    image, labels = torch.randn(2, 3, 136, 200), torch.randint(5, (2, 136, 200))
    gradients = []
    for _ in range(2):
        torch.manual_seed(0)
        segmenter = build_segmenter("semantic_fpn", name, 5).cuda().train()
        with arithmetic(RunSpec(deterministic=True)):
            SegmentationLoss(dice=1.0)(segmenter(image.cuda()), labels.cuda()).backward()
        gradients.append({key: p.grad for key, p in segmenter.named_parameters() if p.grad is not None})
    first, second = gradients
    assert len(first) > 100 and all(torch.equal(first[key], second[key]) for key in first)
