"""Commands that give models to others, and take them."""

from __future__ import annotations


def push(
    run: str,
    place: str,
    *,
    name: str | None = None,
    license: str | None = None,
    comparison: str | None = None,
    public: bool = False,
) -> None:
    """Publish a trained model: weights, a card, hashes, and what timm builds a classifier from.

    Example:
        mscsa push runs/first published/first --license apache-2.0

    Args:
        run: Folder of a run, which stands for its best.safetensors; or a file of weights in one.
        place: A new folder, or hf-hub:OWNER/NAME for a repository of the Hugging Face Hub.
        name: Title of the card; the recipe's if not given.
        license: Of the model, by the hub's short name such as apache-2.0; the card says unknown if not given.
        comparison: compare.json of a `mscsa compare` that the model is an arm of; found by itself if the run
            lies in its folder.
        public: Let everybody see a new repository; it is private if not given.
    """
    from mscsa.hub import push as publish

    names = publish(run, place, name=name, license=license, comparison=comparison, private=not public)
    print(f"{place}: {', '.join(names)}")
    print("The card, README.md, is a start: say there what the model is for, and what it is not for.")


def pull(place: str, *, out: str) -> None:
    """Fetch a published model; a file that is partial, damaged or another is refused by its hash.

    Example:
        mscsa pull published/first --out models/first

    Args:
        place: A folder that `mscsa push` wrote, or hf-hub:OWNER/NAME[@REVISION].
        out: The new folder, which eval, predict and saliency take as a checkpoint.
    """
    from mscsa.hub import pull as fetch

    info = fetch(place, out)
    print(f"{out}: {info.model.name} for {info.model.task}, {len(info.class_names)} classes")
    print(f"next     mscsa eval {out}" + ("" if info.data.is_rendered else " --root DATA"))
