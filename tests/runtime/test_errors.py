"""Errors of exported models are caught as bad input is."""

from mscsa_runtime.errors import ArtifactError, Unusable


def test_an_artifacts_error_is_bad_input() -> None:
    assert issubclass(ArtifactError, ValueError)
    assert (Unusable("empty", "replace it").what, Unusable("empty", "replace it").remedy) == (
        "empty",
        "replace it",
    )
