"""Errors of exported models are caught as bad input is."""

from mscsa_runtime.errors import ArtifactError, Unusable, nearest


def test_an_artifacts_error_is_bad_input() -> None:
    assert issubclass(ArtifactError, ValueError)
    assert (Unusable("empty", "replace it").what, Unusable("empty", "replace it").remedy) == (
        "empty",
        "replace it",
    )


def test_what_may_have_been_meant_comes_before_all_that_is_allowed() -> None:
    assert nearest("retinanett", ["mask_rcnn", "retinanet"]) == "did you mean retinanet?"
    assert nearest("yolo", ["mask_rcnn", "retinanet"]) == "give one of mask_rcnn, retinanet"
    assert nearest("yolo", ["mask_rcnn"], all_names="see help") == "see help"
