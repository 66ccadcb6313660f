"""`mscsa demo`: a page in the browser, on which images are given to models with and without MSCSA."""

from __future__ import annotations

import sys

from mscsa_cli.parsing import Device


def demo(
    model: str | None = None,
    *,
    baseline: str | None = None,
    comparisons: list[str] = [],  # noqa: B006 (never changed; it is what --help shows)
    host: str = "127.0.0.1",
    port: int | None = None,
    share: bool = False,
    max_megabytes: int = 20,
    max_megapixels: int = 40,
    device: Device = "auto",
) -> None:
    """Show in the browser what models with and without MSCSA say of images, where they look, what they cost.

    Example:
        mscsa demo runs/compare

    Args:
        model: Folder of a comparison, which stands for its baseline and its MSCSA of one seed, side by side;
            folder of a run or a file of weights; a pretrained classifier without MSCSA if not given.
        baseline: A run without MSCSA to set beside a run with it.
        comparisons: Those to set side by side by score and cost: folders of `mscsa compare`, or their
            compare.json.
        host: Address to listen at; 127.0.0.1 is heard on this machine alone, 0.0.0.0 by all that reach it.
        port: Port to listen at; the next free one from 7860 on if not given.
        share: Let gradio's server forward a public address to the page, for everybody who knows it.
        max_megabytes: Largest file that is taken.
        max_megapixels: Largest image that is decoded, in 10^6 pixels.
        device: Where to run; auto takes the GPU if there is one.
    """
    from mscsa.demo.demo import open_demo
    from mscsa.demo.serving import is_local, served, wait_for_end
    from mscsa.demo.uploads import Limits

    limits = Limits(megabytes=max_megabytes, megapixels=max_megapixels)
    shown = open_demo(model, baseline, comparisons=comparisons, limits=limits, accelerator=device)
    for note in shown.notes():
        print(note)
    with served(shown, host=host, port=port, share=share) as address:
        if share or not is_local(host):
            print("others can open this page, and upload images to this machine", file=sys.stderr)
        print(f"{address}  (Ctrl-C ends it)", flush=True)
        wait_for_end()
