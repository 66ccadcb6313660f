"""`mscsa export`."""

from __future__ import annotations

from typing import Literal

from mscsa_cli.parsing import parse_size


def export(
    checkpoint: str,
    *,
    out: str,
    format: Literal["onnx", "openvino", "torch_export"] = "onnx",
    size: str | None = None,
    fixed: bool = False,
    maps: bool = False,
    check: str | bool = False,
    tolerance: float = 1e-3,
    int8: str | None = None,
    max_loss: float = 2.0,
) -> None:
    """Export a trained model to ONNX, OpenVINO or torch.export, and compare it with the model.

    Example:
        mscsa export runs/first --format onnx --out exported --check

    Args:
        checkpoint: Folder of a run, which stands for its best.safetensors; or a file of weights in one.
        out: Folder for the files; `mscsa predict` and `mscsa eval` take it in the place of a checkpoint.
        format: What runs it: ONNX Runtime and others, OpenVINO, or torch.
        size: Size of the images in pixels, 224 or HEIGHTxWIDTH; as in evaluation if not given. Detectors take
            no other.
        fixed: Take images of this one size alone; else any size is taken where the model is right at others.
        maps: Export the maps of the pyramid under the head, without the head.
        check: Compare outputs and scores on the validation set, or on that of another folder.
        tolerance: Greatest difference from the model, as a share of an output's largest value.
        int8: Folder of images by which to quantise to 8 bits; with --check, which shows what is lost.
        max_loss: Most points of the main score that 8 bits may lose.
    """
    from mscsa.assembly import read_info
    from mscsa.export import export_checkpoint
    from mscsa.report import show
    from mscsa_cli.result_tables import exported_table

    root = check if isinstance(check, str) else None
    result = export_checkpoint(
        checkpoint,
        out,
        format=format,
        size=parse_size(size) if size else None,
        maps=maps,
        is_fixed=fixed,
        check=read_info(checkpoint).overrides(root=root, size=None) if check else None,
        int8=int8,
        tolerance=tolerance,
        max_loss=max_loss,
    )
    show(exported_table(result))
