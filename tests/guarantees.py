"""What the project promises, the figure, the tests that hold it, and mutations that these tests must notice.

`docs/guarantees.md` and the README's list are written from this table: `python -m tests.guarantees`.
`python -m tests.mutations` breaks the code in each of the ways that stand here and looks whether the tests see it.
"""

# ruff: noqa: E501 (texts of a table)

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "guarantees.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- guarantees: by tests/guarantees.py -->", "<!-- their end -->"


@dataclass(frozen=True)
class Mutation:
    """One way to break the code, and a test that must then fail."""

    path: str
    old: str
    new: str
    test: str
    """Node id without parameters."""
    seen: bool = False
    """Whether `python -m tests.mutations` was seen to end with it killed."""


@dataclass(frozen=True)
class Guarantee:
    """One promise."""

    number: int
    """1 to 31 are those of the list that the project began with; the next are ours since."""
    name: str
    """Its heading on the page."""
    promise: str
    figure: str
    """Its size, as tested."""
    tests: tuple[str, ...]
    """Node ids without parameters."""
    mutations: tuple[Mutation, ...] = ()
    limit: str = ""
    """What is not promised, and why."""
    in_readme: bool = False


_T, _W = "tests/training", "tests/training/whole_runs"
_L = f"{_W}/test_full_size.py"
_C, _R, _F = f"{_T}/test_checkpointing.py", f"{_W}/test_resume.py", "tests/test_files.py"
_BOTH = "tests/models/test_model.py"

GUARANTEES = (
    Guarantee(
        1,
        "Exact resume",
        "A run that is killed at any step and resumed ends with the same bits (CPU, fp32): weights, optimiser, "
        "moving average, sample order, metrics; also extended, with patience or deterministic.",
        "kills in 2 steps with 0 and 2 loader workers, 2 more by `make test-slow`; 50 at any moment with 0 and 4 "
        "workers by `make test-long`",
        (
            f"{_R}::test_kill_and_resume_is_exact",
            f"{_L}::test_fifty_kills_and_resumes_end_alike",
            f"{_R}::test_resume_with_accumulated_batches_is_exact",
            f"{_W}/test_choices.py::test_an_extended_run_is_exact_after_a_kill",
            f"{_W}/test_choices.py::test_patience_and_what_is_kept_are_exact_after_a_kill",
            f"{_W}/test_choices.py::test_a_way_to_calculate_is_exact_after_a_kill",
            f"{_T}/test_data_module.py::test_batches_go_on_from_where_the_run_stands",
            f"{_W}/test_detection.py::test_a_killed_run_ends_as_the_one_that_was_not",
            f"{_W}/test_segmentation.py::test_a_killed_run_ends_as_the_one_that_was_not",
        ),
        (
            Mutation(
                "mscsa/training/data_module.py",
                "start_batch=step * accumulate,",
                "start_batch=0,",
                f"{_T}/test_data_module.py::test_batches_go_on_from_where_the_run_stands",
                seen=True,
            ),
            Mutation(
                "mscsa/training/module.py",
                '            checkpoint["lr_schedulers"] = []\n',
                "            pass\n",
                f"{_W}/test_choices.py::test_an_extended_run_follows_the_longer_schedule",
                seen=True,
            ),
        ),
        "What is lost is at most the steps since the last checkpoint: one is made after each epoch and every "
        "`run.checkpoint_every` steps, 500 unless told, none by the clock. With `run.compile` the tests show it for "
        "one small model (`make test-long`): what torch makes of a model may "
        "depend on what it saw before.",
        in_readme=True,
    ),
    Guarantee(
        2,
        "A kill during a save",
        "A kill during a save leaves a whole checkpoint.",
        "8 kills, at different places of a save; 100 with checkpoints on another file system than temporary files by "
        "`make test-long`",
        (
            f"{_C}::test_kill_while_saving_leaves_a_whole_checkpoint",
            f"{_L}::test_a_hundred_kills_while_saving_on_another_file_system",
            f"{_F}::test_a_kill_during_a_write_leaves_a_whole_file",
            f"{_F}::test_what_stops_in_the_middle_leaves_the_previous_file_alone",
        ),
        (
            Mutation(
                "mscsa/files.py",
                'path.with_name(f".{path.name}.{os.getpid()}.tmp")',
                "path",
                f"{_F}::test_what_stops_in_the_middle_leaves_the_previous_file_alone",
                seen=True,
            ),
        ),
        in_readme=True,
    ),
    Guarantee(
        3,
        "How files are written",
        "Files are written beside their target, synced with their folder, and renamed; nothing of a killed save is "
        "left after the next start.",
        "each call in its order",
        (
            f"{_F}::test_the_file_is_on_the_disk_before_it_is_renamed_and_the_folder_after",
            f"{_C}::test_half_a_file_beside_the_checkpoint_is_harmless",
            f"{_T}/test_run.py::test_leftovers_of_a_killed_save_are_removed_on_resume",
            f"{_T}/test_metrics_log.py::test_the_rows_that_stay_are_on_the_disk_before_they_take_its_place",
        ),
        (
            *(
                Mutation(
                    "mscsa/files.py",
                    old,
                    "pass",
                    f"{_F}::test_the_file_is_on_the_disk_before_it_is_renamed_and_the_folder_after",
                    seen=True,
                )
                for old in ("os.fsync(file.fileno())", "os.fsync(folder)")
            ),
            Mutation(
                "mscsa/training/metrics_log.py",
                "write_text(self.path, text.getvalue())",
                "self.path.write_text(text.getvalue())",
                f"{_T}/test_metrics_log.py::test_the_rows_that_stay_are_on_the_disk_before_they_take_its_place",
                seen=True,
            ),
        ),
        "Shares that sync no folders take the file all the same. The log and `metrics.csv` grow line by line and are "
        "not synced at each: a power cut may take their last lines. What a resumed run keeps of `metrics.csv` is "
        "written as said here.",
    ),
    Guarantee(
        4,
        "A full disk",
        "A full disk ends a run in one line, and the last checkpoint stays; a run that would not fit is not started, "
        "with the bytes it needs and those that are free.",
        "the limit to one byte, the estimate between 0.8 and 1.1 of what a run writes; a file that the kernel cuts off",
        (
            f"{_C}::test_a_full_disk_is_one_line_and_loses_nothing",
            f"{_F}::test_a_full_disk_leaves_the_previous_file",
            f"{_C}::test_no_start_without_room",
            f"{_C}::test_train_refuses_a_nearly_full_disk",
            f"{_C}::test_the_estimate_of_a_checkpoint_is_about_right",
        ),
        (
            Mutation(
                "mscsa/training/checkpointing.py",
                "    if free < needed:",
                "    if False:",
                f"{_C}::test_no_start_without_room",
                seen=True,
            ),
        ),
        "In the middle of a save the message gives no bytes: what it lacks is known to the file system alone. No disk "
        "is filled in the tests, which mount none: a limit on the size of a file stands for it, and errors of torch's "
        "writer.",
    ),
    Guarantee(
        5,
        "A folder that is gone",
        "A folder that is read-only or gone is an error at the first save.",
        "one save; a system call that refuses stands for a read-only disk",
        (
            f"{_C}::test_a_vanished_folder_is_an_error_at_the_save",
            f"{_T}/test_run.py::test_a_folder_that_vanishes_is_one_line",
            f"{_F}::test_a_folder_that_cannot_be_written",
        ),
        (
            Mutation(
                "mscsa/training/checkpointing.py",
                "if not folder.is_dir():  # deleted",
                "if False:  # deleted",
                f"{_C}::test_a_vanished_folder_is_an_error_at_the_save",
                seen=True,
            ),
        ),
    ),
    Guarantee(
        6,
        "Signals that end a run",
        "SIGTERM and SIGINT end a run after the step in progress, saved, with 143 and 130; a second one at once.",
        "the step in progress",
        (
            f"{_R}::test_stopped_by_sigterm_within_the_step",
            f"{_R}::test_stopped_in_an_evaluation",
            f"{_R}::test_stopped_in_the_evaluation_that_a_resume_begins_with",
            f"{_R}::test_second_signal_ends_at_once",
            f"{_T}/test_interrupt.py::test_the_first_signal_is_remembered_and_the_second_ends_at_once",
            f"{_W}/test_ddp.py::test_a_signal_to_one_process_stops_both",
            f"{_W}/test_ddp.py::test_a_signal_to_one_process_in_an_evaluation_stops_both_alike",
        ),
        (
            Mutation(
                "mscsa/training/interrupt.py",
                "        if self.signum:\n",
                "        if False:\n",
                f"{_T}/test_interrupt.py::test_the_first_signal_is_remembered_and_the_second_ends_at_once",
                seen=True,
            ),
            Mutation(
                "mscsa/training/checkpointing.py",
                "if pl_module.agreed_stop:",
                "if False:",
                f"{_R}::test_stopped_by_sigterm_within_the_step",
                seen=True,
            ),
        ),
        "No number of seconds (30 were meant): a step and a save take what they take; a Slurm job should be signalled "
        "that long before "
        "its end.",
    ),
    Guarantee(
        7,
        "A process that dies",
        "A process that dies ends all others within a minute, with one line, and the run goes on by --resume.",
        "60 s, gloo; process 0 and process 1 killed",
        (
            f"{_W}/test_ddp.py::test_a_killed_process_ends_the_other_and_the_run_goes_on",
            f"{_W}/test_ddp.py::test_an_error_on_one_process_ends_the_other_with_one_line",
            f"{_T}/test_failures.py::test_a_killed_loader_process_is_one_line",
            f"{_T}/test_processes.py::test_a_child_ends_with_its_parent",
            f"{_T}/test_processes.py::test_errors_of_lost_processes",
        ),
        (
            Mutation(
                "mscsa/training/processes.py",
                "isinstance(error, dist.DistError) or any(word in str(error) for word in _OF_GROUPS)",
                "False",
                f"{_T}/test_processes.py::test_errors_of_lost_processes",
                seen=True,
            ),
            Mutation(
                "mscsa/full_memory.py",
                "if isinstance(error, RuntimeError) and _LOST_WORKER.search(str(error)):",
                "if False:",
                f"{_T}/test_failures.py::test_a_killed_loader_process_is_one_line",
                seen=True,
            ),
        ),
        "NCCL is not tested: it takes several GPUs, and the tests run without. Under torchrun its own report of "
        "the process that died, some forty lines, stands behind ours.",
    ),
    Guarantee(
        8,
        "A resume with other settings",
        "A resume with another seed, batch, number of processes, data or setting is refused by name; a longer cosine "
        "run needs --extend.",
        "each kind of field; files by name and size",
        (
            f"{_T}/test_resuming.py::test_another_run_is_refused_by_its_first_difference",
            f"{_T}/test_resuming.py::test_other_images_are_refused",
            f"{_T}/test_resuming.py::test_a_run_whose_schedule_stretches_over_it_is_extended_by_choice",
            "tests/data/test_identity.py::test_other_images_of_equal_count_are_other_data",
        ),
        (
            Mutation(
                "mscsa/training/resuming.py",
                "if field in changeable or then == after.get(key):",
                'if field in changeable or then == after.get(key) or "_files" in field:',
                f"{_T}/test_resuming.py::test_other_images_are_refused",
                seen=True,
            ),
            Mutation(
                "mscsa/training/resuming.py",
                'if extend or now["recipe"]',
                'if True or now["recipe"]',
                f"{_T}/test_resuming.py::test_a_run_whose_schedule_stretches_over_it_is_extended_by_choice",
                seen=True,
            ),
            Mutation(
                "mscsa/data/identity.py",
                "\\t{_size(path)}",
                "",
                "tests/data/test_identity.py::test_other_images_of_equal_count_are_other_data",
                seen=True,
            ),
        ),
        "Files that are changed without a change of size pass: contents would be a pass over the disk at each start.",
    ),
    Guarantee(
        9,
        "Damaged checkpoints",
        "A damaged checkpoint is seen by its checksums, and a resume goes on from the one before it with a warning; "
        "damaged weights are refused. Weights, settings, the list of sessions and metrics.csv that are damaged or gone "
        "are told at a resume, and written again where the checkpoint has what was in them.",
        "300 random flips of each kind of file, 4 cuts of a checkpoint and 6 of each kind of weights; the way back "
        "once in a whole run",
        (
            f"{_C}::test_every_flipped_bit_is_seen_or_changes_nothing",
            f"{_C}::test_a_flipped_bit_in_the_weights_is_seen",
            f"{_C}::test_a_truncated_checkpoint_is_refused",
            f"{_C}::test_the_checkpoint_before_it_is_kept_and_taken_where_the_last_is_damaged",
            f"{_R}::test_a_damaged_checkpoint_gives_way_to_the_one_before_it",
            f"{_T}/test_lost_weights.py::test_the_best_is_taken_from_those_that_are_kept",
            f"{_T}/test_lost_weights.py::test_without_a_copy_the_last_evaluation_is_done_again_and_is_the_best",
            f"{_T}/test_run_folder.py::test_a_damaged_list_of_sessions_is_set_aside",
            f"{_T}/test_metrics_log.py::test_rows_that_are_lost_are_told",
            "tests/cli/test_resumed_run.py::test_damaged_settings_are_taken_from_the_checkpoint",
            "tests/checkpoints/test_checksum.py::test_every_flipped_bit_is_seen",
            "tests/checkpoints/test_reading.py::test_truncated_files",
        ),
        (
            Mutation(
                "mscsa/training/checkpointing.py",
                "    if damaged is not None:",
                "    if False:",
                f"{_C}::test_a_flipped_bit_in_the_weights_is_seen",
                seen=True,
            ),
            Mutation(
                "mscsa/training/lost_weights.py",
                "names = [name for name in (BEST, LAST_WEIGHTS) if not _is_sound(folder / name)]",
                "names = []",
                f"{_T}/test_lost_weights.py::test_without_a_copy_the_last_evaluation_is_done_again_and_is_the_best",
                seen=True,
            ),
            Mutation(
                "mscsa/training/checkpointing.py",
                ", keep=folder / PREVIOUS)",
                ")",
                f"{_C}::test_the_checkpoint_before_it_is_kept_and_taken_where_the_last_is_damaged",
                seen=True,
            ),
            Mutation(
                "mscsa/checkpoints/checksum.py",
                "expected != checksum(tensors, said):",
                "False:",
                "tests/checkpoints/test_checksum.py::test_every_flipped_bit_is_seen",
                seen=True,
            ),
        ),
        "A flip in the padding of a checkpoint's archive passes: it changes no value, and the test sees that. Weights "
        "of others have no "
        "checksum: of those a cut is seen, a flip need not be.",
        in_readme=True,
    ),
    Guarantee(
        10,
        "Losses that are not finite",
        "A loss or gradient that is not finite stops the run at that step on all processes and names the images; the "
        "last good checkpoint stays.",
        "the step itself",
        (
            f"{_T}/test_module.py::test_a_non_finite_loss_stops_names_the_sample_and_keeps_the_checkpoint",
            f"{_T}/test_module.py::test_a_non_finite_gradient_stops_before_the_weights_take_it",
            f"{_W}/test_ddp.py::test_a_non_finite_loss_on_one_process_stops_both",
        ),
        (
            Mutation(
                "mscsa/training/module.py",
                "if not math.isfinite(self.loss_value):",
                "if False:",
                f"{_T}/test_module.py::test_a_non_finite_loss_stops_names_the_sample_and_keeps_the_checkpoint",
                seen=True,
            ),
        ),
        "No automatic way back (three were meant): the same step with the same images gives the same loss. In fp16 "
        "the scaler skips "
        "gradients that are not finite, as it is made to; its state is not in the message.",
        in_readme=True,
    ),
    Guarantee(
        11,
        "Unreadable images",
        "An unreadable image is one line with its path. Up to --data.max_bad of them (0 unless told) are replaced, the "
        "same in every run, and listed.",
        "each format, 0 bytes, cuts at 10, 50 and 90 %, wrong endings, CMYK, 16 bits, palettes, EXIF, animations",
        (
            "tests/data/test_images.py::test_truncated",
            "tests/data/test_images.py::test_no_image",
            "tests/data/test_images.py::test_damaged_bytes_in_the_middle_never_escape_as_another_exception",
            "tests/data/test_images.py::test_every_named_format_is_read",
            "tests/data/test_images.py::test_cmyk_keeps_its_colours",
            "tests/data/test_images.py::test_grey_of_16_bits_is_scaled_not_clipped",
            "tests/data/test_images.py::test_palette_with_a_transparent_colour",
            "tests/data/test_images.py::test_exif_orientation_is_applied",
            "tests/data/test_images.py::test_of_an_animation_the_first_frame_is_taken",
            "tests/data/test_tolerance.py"
            "::test_the_next_readable_sample_takes_the_place_with_the_randomness_of_the_key",
            f"{_T}/test_bad_images.py::test_they_are_replaced_left_out_and_listed",
            f"{_T}/test_bad_images.py::test_one_more_than_allowed_ends_the_run_in_one_line",
            f"{_W}/test_ddp.py::test_unreadable_images_of_all_processes_count_together",
        ),
        (
            Mutation(
                "mscsa/data/tolerance.py",
                "index = (asked + step) % len(self)",
                "index = (asked + 2 * step) % len(self)",
                "tests/data/test_tolerance.py"
                "::test_the_next_readable_sample_takes_the_place_with_the_randomness_of_the_key",
                seen=True,
            ),
            Mutation(
                "mscsa/data/tolerance.py",
                "if count > self._max_bad:",
                "if False:",
                "tests/data/test_tolerance.py::test_one_more_than_allowed_ends_it_with_both_numbers",
                seen=True,
            ),
        ),
        "A number, not a share of the images (0.1 % was meant): it is stated by the person who knows the data.",
    ),
    Guarantee(
        12,
        "Decompression bombs",
        "A decompression bomb is refused by its header, before it is decoded.",
        "more than 89,478,485 pixels: 10,000 x 9,000, 30,000 and 60,000 squared",
        ("tests/data/test_images.py::test_a_decompression_bomb_is_refused_before_it_is_decoded",),
        (
            Mutation(
                "mscsa_runtime/images.py",
                "            _check_size(image.size, max_pixels)\n",
                "",
                "tests/data/test_images.py::test_a_decompression_bomb_is_refused_before_it_is_decoded",
                seen=True,
            ),
        ),
        "No memory is measured (less than 200 MB were meant): the test fails where pixels are decoded at all, which "
        "would take it.",
    ),
    Guarantee(
        13,
        "Wrong annotations are found",
        "`mscsa check-data` finds what is wrong with annotations in COCO's format, each once, and nothing else.",
        "64 defects, one at a time; no false alarm on sound files in COCO's layout",
        (
            "tests/data/coco/test_annotation_checks.py::test_what_is_wrong_is_found_once",
            "tests/data/coco/test_file_checks.py::test_what_is_wrong_is_found_once",
            "tests/data/coco/test_checks.py::test_what_is_wrong_is_found_once",
            "tests/data/coco/test_checks.py::test_sound_data_have_no_problems",
        ),
        (
            Mutation(
                "mscsa/data/coco/annotation_checks.py",
                "np.array([type(each) is not int or each not in categories for each in ids]),",
                "np.array([False for each in ids]),",
                "tests/data/coco/test_annotation_checks.py::test_what_is_wrong_is_found_once",
                seen=True,
            ),
        ),
        "Time and memory are of a machine and no test (60 s and 4 GB were meant): on made annotations of COCO's "
        "123,287 images `benchmarks/check_coco.py` took 24 s and 2.2 GiB once.",
    ),
    Guarantee(
        14,
        "Images without objects",
        "Images without objects give finite losses and gradients.",
        "all four detectors",
        ("tests/detection/test_detector.py::test_a_batch_without_any_object_trains",),
        (
            Mutation(
                "mscsa/detection/set_loss.py",
                "count = count.clamp(min=1)",
                "count = count.clamp(min=0)",
                "tests/detection/test_detector.py::test_a_batch_without_any_object_trains",
                seen=True,
            ),
        ),
    ),
    Guarantee(
        15,
        "Labels outside the classes",
        "A label outside the classes is named with file, pixel and value; ADE20K's 0 is ignored.",
        "the first such pixel",
        (
            "tests/data/label_maps/test_labels.py::test_labels_must_fit_the_classes",
            "tests/data/label_maps/test_labels.py::test_ade20k_ignores_zero_and_counts_from_one",
        ),
        (
            Mutation(
                "mscsa/data/label_maps/labels.py",
                "    found = _lookup(table.values)[values]\n    wrong = found < 0",
                "    found = _lookup(table.values)[values]\n    wrong = found < -1",
                "tests/data/label_maps/test_labels.py::test_labels_must_fit_the_classes",
                seen=True,
            ),
            Mutation(
                "mscsa/data/label_maps/known_tables.py",
                "{i + 1: i for i in range(len(names))}",
                "{i: i for i in range(1, len(names))}",
                "tests/data/label_maps/test_labels.py::test_ade20k_ignores_zero_and_counts_from_one",
                seen=True,
            ),
        ),
    ),
    Guarantee(
        16,
        "Malformed recipe files",
        "A malformed recipe file is one line with file and place, and no tag of it runs code.",
        "14 files by `make test`, with exit code, place and nearest name; 60 random ones by `make test-slow`, 1,000 "
        "by `make test-long`",
        (
            "tests/cli/test_fuzzed_files.py::test_a_malformed_file_is_one_line",
            "tests/cli/test_fuzzed_files.py::test_a_thousand_malformed_files",
            "tests/cli/test_commands.py::test_bad_recipe_file_gives_its_line",
        ),
        (
            Mutation(
                "mscsa/recipes/options.py",
                "        content = yaml.safe_load(text)\n",
                "        content = yaml.unsafe_load(text)\n",
                "tests/cli/test_fuzzed_files.py::test_a_malformed_file_is_one_line",
                seen=True,
            ),
        ),
        "Of random files the tests look for the name of the file, a short message and that nothing runs; line and "
        "nearest name are looked "
        "at in the 14 written ones. Bytes that are no YAML at all, and a number too large for a float, have no line.",
    ),
    Guarantee(
        17,
        "No code from checkpoints",
        "No code from a checkpoint is ever run: safetensors, or pickles read as tensors only.",
        "11 calls of the standard library in 5 forms of file; a class of the test's own in 4 places under 5 names",
        (
            "tests/checkpoints/test_reading.py::test_a_malicious_pickle_is_never_executed",
            "tests/checkpoints/test_pickles.py::test_calls_of_the_standard_library_are_refused_and_not_run",
            "tests/checkpoints/test_pickles.py::test_the_malicious_pickle_would_work",
            "tests/checkpoints/test_pickles.py::test_calls_of_other_packages_are_not_run",
            f"{_C}::test_code_in_a_checkpoint_is_never_run",
            "tests/test_packaging.py::test_torch_is_one_whose_reader_of_weights_is_safe",
        ),
        (
            Mutation(
                "mscsa/checkpoints/pickles.py",
                "if is_standard and name not in",
                "if False and name not in",
                "tests/checkpoints/test_pickles.py::test_calls_of_the_standard_library_are_refused_and_not_run",
                seen=True,
            ),
            Mutation(
                "mscsa/training/checkpointing.py",
                'map_location="cpu", weights_only=True, mmap=True',
                'map_location="cpu", weights_only=False, mmap=True',
                f"{_C}::test_code_in_a_checkpoint_is_never_run",
                seen=True,
            ),
        ),
        in_readme=True,
    ),
    Guarantee(
        18,
        "No network",
        "Nothing is downloaded on import; without a network weights that are not there are one line, at once.",
        "one attempt to connect, of at most 5 s; all kinds of model",
        (
            "tests/test_import_layers.py::test_importing_the_package_is_light",
            "tests/backbones/test_weight_sources.py::test_without_a_network_the_hub_is_not_asked",
            "tests/backbones/test_weight_sources.py"
            "::test_what_was_downloaded_before_is_there_without_a_network",
            "tests/backbones/test_weight_sources.py::test_a_download_that_breaks_off_is_one_line",
            "tests/models/test_pretrained.py"
            "::test_without_a_network_other_weights_are_one_line_in_every_model",
            "tests/hub/test_manifest.py::test_a_file_that_does_not_agree_is_refused",
            "tests/hub/test_pull.py::test_a_file_that_is_not_the_listed_one_is_refused",
            "tests/hub/test_remote.py::test_a_partial_download_is_refused",
        ),
        (
            Mutation(
                "mscsa/backbones/weight_sources.py",
                "    constants.HF_HUB_OFFLINE = problem is not None\n",
                "",
                "tests/backbones/test_weight_sources.py::test_without_a_network_the_hub_is_not_asked",
                seen=True,
            ),
        ),
        "Downloads are the hub's client's, whose partial files have other names; a checksum is in our own files, and "
        "in the list beside models that `mscsa push` published, alone: weights that others published are taken as the "
        "hub gives them.",
    ),
    Guarantee(
        19,
        "Weights that fit in part",
        "Weights that fit in part are counted part by part; none is filled by half, and what does not fit is refused.",
        "both forms of 3 registered models, of the other 10 by `make test-long`; 12 files that do not fit; 1, 4 or 5 "
        "input channels in all eight families",
        (
            "tests/checkpoints/test_loading.py::test_no_part_is_filled_by_half",
            "tests/checkpoints/test_loading.py::test_what_does_not_fit_is_refused_and_changes_nothing",
            "tests/checkpoints/test_loading.py"
            "::test_both_forms_of_every_registered_model_share_backbone_and_mscsa",
            f"{_BOTH}::test_in_chans",
            "tests/backbones/test_contract.py::test_image_channels_are_free",
            "tests/models/test_contract.py::test_a_saved_model_adapts_to_other_classes_and_channels",
            "tests/models/test_pretrained.py::test_pretrained_weights_adapt_to_other_input_channels",
        ),
        (
            Mutation(
                "mscsa/checkpoints/loading.py",
                "    if problems:\n        raise _misfit",
                "    if False:\n        raise _misfit",
                "tests/checkpoints/test_loading.py::test_what_does_not_fit_is_refused_and_changes_nothing",
                seen=True,
            ),
        ),
        "No share of tensors decides (90 % was meant): a part, as backbone, MSCSA or head, is filled whole or not at "
        "all, and a backbone or "
        "MSCSA of the file that does not fit is refused. Weights that timm loads, and models that it builds from a "
        "folder, adapt to other input channels; "
        '`load_weights` adapts them by `policy="backbone"` alone.',
    ),
    Guarantee(
        20,
        "Light imports",
        "The package imports neither Lightning nor what only some tasks need; the command line starts without torch. "
        "Nothing of it is compiled, and releases of Lightning that had malicious code (2.6.2, 2.6.3) are not taken.",
        "by what is imported, not by a clock; two releases of Lightning with malicious code refused; no compiled module",
        (
            "tests/test_import_layers.py::test_importing_the_package_is_light",
            "tests/test_import_layers.py::test_the_command_line_starts_without_torch",
            "tests/test_import_layers.py::test_exported_models_are_run_without_torch",
            "tests/test_packaging.py::test_releases_of_lightning_with_malicious_code_are_refused",
            "tests/test_packaging.py::test_nothing_is_compiled",
        ),
        (
            Mutation(
                "mscsa/errors.py",
                "from typing import Any\n",
                "from typing import Any\n\nimport rich\n",
                "tests/test_import_layers.py::test_importing_the_package_is_light",
                seen=True,
            ),
            Mutation(
                "pyproject.toml",
                ",!=2.6.2,!=2.6.3",
                ",!=2.6.2",
                "tests/test_packaging.py::test_releases_of_lightning_with_malicious_code_are_refused",
                seen=True,
            ),
        ),
        "`constraints.txt` pins versions without hashes, since torch's wheels differ by machine. `import mscsa` takes "
        "the seconds that importing timm takes, some 4 on one core (3 were meant). No test builds a wheel, and none "
        "times an installation.",
    ),
    Guarantee(
        21,
        "Any size, any batch",
        "Any size gives maps of the backbone's shapes; a batch of one trains, or is refused by name.",
        "4 odd and narrow sizes on 3 of timm's kinds of backbone, 3 on Swin, 3 or 4 on each of our own four, to 250 "
        "px; MSCSA alone to 515 px",
        (
            f"{_BOTH}::test_odd_and_non_square_sizes",
            f"{_BOTH}::test_channels_last_backbone_at_other_sizes",
            f"{_BOTH}::test_a_size_that_the_backbone_refuses_is_one_line",
            "tests/backbones/test_contract.py::test_classifies_any_size",
            "tests/attention/test_fusion.py::test_matches_the_oracle",
            "tests/attention/test_contract.py::test_exports_with_any_sizes",
            f"{_BOTH}::test_training_on_one_small_image_is_one_line",
        ),
        (
            Mutation(
                "mscsa/attention/fusion.py",
                "size = (x_BCHW.shape[2], x_BCHW.shape[3])",
                "size = (x_BCHW.shape[3], x_BCHW.shape[2])",
                f"{_BOTH}::test_odd_and_non_square_sizes",
                seen=True,
            ),
        ),
        "Not 500 sizes up to 1,333 px on each backbone, and no whole model above 250 px here but where it is "
        "exported: what depends on the size is one function of the strides, tested for itself "
        "(`tests/attention/test_pooling.py`). A backbone that takes some sizes alone takes no others with MSCSA. "
        "timm's other backbones ran at two sizes, once: `benchmarks/results/timm_sweep.md`.",
    ),
    Guarantee(
        22,
        "A gradient for every parameter",
        "Every parameter of a built model gets a gradient in its task: DDP needs no `find_unused_parameters`. "
        "Channels-last, saving, and the way over a folder of the hub change nothing, gradient checkpointing no "
        "output, no gradient and no statistic of ours.",
        "small models of all eight registered families: the four of timm with MSCSA, our four by themselves; "
        "gradients to 1e-9 in float64, channels-last to 1e-4 of float32, what is saved and shared to the last bit; "
        "all detectors",
        (
            f"{_BOTH}::test_every_parameter_gets_a_gradient",
            f"{_BOTH}::test_gradient_checkpointing_changes_nothing",
            f"{_BOTH}::test_state_dict_round_trip",
            f"{_BOTH}::test_channels_last_is_equal",
            "tests/backbones/test_contract.py::test_every_parameter_gets_a_gradient",
            "tests/backbones/test_contract.py::test_checkpointing_changes_no_gradient",
            "tests/backbones/test_contract.py::test_state_dict_carries_the_model",
            "tests/backbones/test_contract.py::test_channels_last_gives_the_same",
            "tests/models/test_contract.py::test_from_a_folder_of_the_hub_and_back",
            "tests/hub/test_pull.py::test_a_classifier_there_and_back",
            "tests/hub/test_pull.py::test_a_segmenter_there_and_back",
            "tests/hub/test_pull.py::test_a_detector_there_and_back",
            "tests/detection/test_detector.py::test_every_parameter_learns",
        ),
        (
            Mutation(
                "mscsa/models/model.py",
                "PyramidFusion(self.mscsa, fused if fuse else ())",
                "PyramidFusion(self.mscsa, range(len(attended)) if fuse else ())",
                f"{_BOTH}::test_a_part_of_the_levels_is_fused_alike",
                seen=True,
            ),
        ),
        "Not each of the 13 registered models: one small model of each family stands for its sizes, and of our own "
        "families gradients and channels-last are tested without MSCSA. The hub itself is never asked: folders and a "
        "stand-in for its client are. Under gradient checkpointing timm's own backbones count a batch's statistics "
        "twice, as in timm.",
        in_readme=True,
    ),
    Guarantee(
        23,
        "Unchanged at step 0",
        "A pyramid's maps are the backbone's own at step 0; costs are the closed form's, and near the paper's printed ones.",
        "less than 1e-6 apart; 0.1 %; 3.1 % from Table 1 and 3 rows of Table 6, from 7 by `make test-long`; all settings of Table 7 but one",
        (
            "tests/attention/test_fusion.py::test_maps_are_unchanged_at_the_start",
            "tests/models/test_register.py::test_the_start_keeps_pretrained_features",
            f"{_BOTH}::test_the_start_keeps_the_features",
            "tests/attention/test_cost.py::test_closed_form_equals_the_counter",
            "tests/attention/test_cost.py::test_closed_form_equals_the_counter_in_every_ablation",
            "tests/cost/test_classifier_tables.py::test_table_1",
            "tests/cost/test_classifier_tables.py::test_table_6",
            "tests/cost/test_classifier_tables.py::test_table_7",
        ),
        (
            Mutation(
                "mscsa/attention/fusion.py",
                "self.gate_scale * F.hardsigmoid",
                "0.9 * self.gate_scale * F.hardsigmoid",
                "tests/attention/test_fusion.py::test_maps_are_unchanged_at_the_start",
                seen=True,
            ),
            Mutation(
                "mscsa/attention/cost.py",
                "query = tokens * channels * inner",
                "query = 2 * tokens * channels * inner",
                "tests/attention/test_cost.py::test_closed_form_equals_the_counter",
                seen=True,
            ),
        ),
        "There is no switch that turns MSCSA off, and the maps are not promised to the last bit: the gate multiplies "
        "by 1 as the machine rounds it. A classifier has other features from the start, unless it keeps its own. "
        "Table 2's printed costs are shown beside ours, not promised: one of them is not explained (decisions.md).",
    ),
    Guarantee(
        24,
        "One graph under torch.compile",
        "MSCSA compiles to one graph; one dynamic graph serves every size.",
        "no graph break; no recompilation over three sizes and batches from 250 px on (`make test-slow`); five sizes "
        "from 64 px on right, compiled anew or not, by `make test-long`; two programs at most over ten sizes from 97 px "
        "on, for a classifier in evaluation, and by `make test-long` in training, with checkpointing, for folded "
        "segmenters and below detectors",
        (
            "tests/attention/test_contract.py::test_compiles_to_one_graph",
            "tests/attention/test_contract.py::test_one_dynamic_graph_serves_every_size",
            "tests/attention/test_contract.py::test_training_step_compiles_to_one_graph",
            "tests/attention/test_contract.py::test_tiny_and_odd_sizes_compile_right",
            f"{_BOTH}::test_whole_models_compile_to_one_graph",
            "tests/models/test_dynamic_compile.py::test_a_classifier_is_two_programs_at_most",
            "tests/models/test_dynamic_compile.py::test_a_checkpointed_pyramid_is_two_programs_at_most",
            "tests/models/test_dynamic_compile.py::test_the_pyramid_below_a_detector_is_two_programs_at_most",
        ),
        (
            Mutation(
                "mscsa/attention/cross_scale.py",
                "        height, width = x_BDhw.shape[-2:]\n        query_BNLd",
                "        torch._dynamo.graph_break()\n        height, width = x_BDhw.shape[-2:]\n        query_BNLd",
                "tests/attention/test_contract.py::test_compiles_to_one_graph",
                seen=True,
            ),
        ),
        "How many programs a backbone of timm's needs is its own; ResNet-10t was counted. Below 97 px (RetinaNet: 129 "
        "px) maps of one pixel are compiled anew, six programs over ten sizes from 64 px on, where two were meant.",
    ),
    Guarantee(
        25,
        "Export with free sizes",
        "MSCSA and whole models export by `torch.export` with free sizes. `mscsa export` writes files for ONNX "
        "Runtime, OpenVINO and torch that give what the model gives, and writes none that differs.",
        "MSCSA in float64 to 1e-12 at 4 sizes, whole models to 1e-4 at 3; of files: outputs to 0.001 of their largest "
        "value at 3 sizes and 2 batches, boxes to 0.01 px, scores and masks to 1e-4, labels equal; a classifier, a "
        "segmenter and a detector by `make test-slow`, all heads in all formats and all families in ONNX by `make "
        "test-long`",
        (
            "tests/attention/test_contract.py::test_exports_with_any_sizes",
            "tests/attention/test_pooling.py::test_exported_windows_are_exact_at_every_size",
            f"{_BOTH}::test_whole_models_export_with_any_size",
            "tests/export/test_export.py::test_what_was_compared_is_told",
            "tests/export/test_export.py::test_a_classifier_is_right_at_three_sizes_and_two_batches",
            "tests/export/test_export.py::test_what_people_get_of_the_file_is_what_they_get_of_the_model",
            "tests/export/test_export.py::test_the_maps_under_a_head",
            "tests/export/test_export.py::test_a_wrong_artifact_is_not_written",
            "tests/export/test_export.py::test_sizes_are_fixed_where_others_are_wrong",
            "tests/export/test_differences.py::test_only_what_is_equal_passes",
            "tests/export/test_onnx_file.py::test_it_runs_at_other_sizes_and_keeps_its_metadata",
            "tests/export/test_openvino_file.py::test_it_runs_at_other_sizes_and_keeps_its_metadata",
            "tests/export/test_torch_file.py::test_it_runs_at_other_sizes_and_keeps_its_metadata",
            "tests/export/test_onnx_file.py::test_eight_bits_are_close",
            "tests/export/test_openvino_file.py::test_eight_bits_are_close",
            "tests/cli/test_artifacts.py::test_an_export_is_scored_and_asked_in_the_place_of_its_run",
            "tests/cli/test_artifacts.py::test_the_maps_of_a_pyramid_are_exported",
        ),
        (
            Mutation(
                "mscsa/attention/pooling.py",
                "is_graph = torch.compiler.is_exporting() or torch.jit.is_tracing()",
                "is_graph = False",
                "tests/attention/test_pooling.py::test_exported_windows_are_exact_at_every_size",
                seen=True,
            ),
            Mutation(
                "mscsa/export/differences.py",
                "if not found <= tolerance:",
                "if False:",
                "tests/export/test_differences.py::test_only_what_is_equal_passes",
                seen=True,
            ),
        ),
        "0.001 of an output's largest value, not 1e-4: outputs have no size in common; the classifier that is "
        "exported in all of these tests "
        "differs by less than 1e-5. Where torch has no program for all sizes, or one that is wrong at some, the size "
        "is fixed, and a line says so. A detector's file has one size. No AP of an exported detector is held to 0.1: "
        "the tests have no trained one; "
        "`mscsa export --check` prints the scores of model and file beside each other, and the tests look that it "
        "does, and hold top-1 and "
        "mIoU of small untrained models to 0.5. No file is written in half precision, so that none is compared; of 8 "
        "bits what they lose "
        "is printed, and more than `--max-loss` is refused.",
    ),
    Guarantee(
        26,
        "Half precision",
        "Half precision gives finite outputs on large activations, and precise boxes.",
        "one input each of 60 (attention) and 300 standard deviations (fusion), fp16 and bf16, training and "
        "evaluation; boxes of all detectors",
        (
            "tests/attention/test_cross_scale.py::test_large_activations_stay_finite_in_half_precision",
            "tests/attention/test_fusion.py::test_large_maps_stay_finite_in_half_precision",
            "tests/detection/test_detector.py::test_autocast_keeps_boxes_precise",
            f"{_T}/test_objectives.py::test_losses_are_not_in_half_precision",
        ),
        (
            Mutation(
                "mscsa/training/arithmetic.py",
                "torch.promote_types(logits.dtype, torch.float32)",
                "logits.dtype",
                f"{_T}/test_objectives.py::test_losses_are_not_in_half_precision",
                seen=True,
            ),
        ),
        "Not 1,000 inputs, and none of 1,000 standard deviations. No cosine to float32 under stress: a softmax of "
        "logits of thousands is decided by the last bits of bf16.",
    ),
    Guarantee(
        27,
        "Everything is evaluated once",
        "Every image and every pixel is evaluated exactly once, for any number of processes.",
        "1 to 4 processes in the order of samples, 1 and 2 in whole runs, with lengths that they do not divide, "
        "scores equal and losses to 1e-9; 2 nodes of 2 processes by `make test-long`",
        (
            "tests/data/test_sampler.py::test_evaluation_takes_each_sample_once",
            f"{_W}/test_ddp.py::test_each_sample_is_evaluated_once_by_some_process",
            f"{_W}/test_ddp.py::test_two_nodes_of_two_processes_train_to_the_same_weights",
            f"{_T}/test_callbacks.py::test_all_processes_evaluate_the_statistics_of_the_first",
            "tests/evaluation/test_miou.py::test_two_processes_count_each_pixel_once",
            "tests/evaluation/test_coco_ap.py::test_two_processes_give_what_one_gives",
            "tests/evaluation/test_top1.py::test_two_processes_bring_their_images_to_the_first",
        ),
        (
            Mutation(
                "mscsa/data/sampler.py",
                "range(rank, num_samples, world_size)",
                "range(rank, num_samples - num_samples % world_size, world_size)",
                "tests/data/test_sampler.py::test_evaluation_takes_each_sample_once",
                seen=True,
            ),
            Mutation(
                "mscsa/training/callbacks.py",
                "dist.broadcast(buffer, 0)",
                "pass",
                f"{_T}/test_callbacks.py::test_all_processes_evaluate_the_statistics_of_the_first",
                seen=True,
            ),
        ),
        "Both nodes are one machine, by torchrun.",
        in_readme=True,
    ),
    Guarantee(
        28,
        "AP and mIoU",
        "AP is pycocotools', mIoU that of counting by hand.",
        "1e-6 for boxes and masks, 6 random cases with crowds, ties and classes without objects; exact",
        (
            "tests/evaluation/test_coco_ap.py::test_equal_to_pycocotools",
            "tests/evaluation/test_coco_ap.py::test_more_than_a_hundred_objects",
            "tests/evaluation/test_coco_ap.py::test_nothing_found_and_nothing_there",
            "tests/evaluation/test_miou.py::test_scores_are_those_of_counting_by_hand",
        ),
        (
            Mutation(
                "mscsa/evaluation/miou.py",
                "labelled = matrix.sum(dim=1).tolist()",
                "labelled = matrix.sum(dim=0).tolist()",
                "tests/evaluation/test_miou.py::test_scores_are_those_of_counting_by_hand",
                seen=True,
            ),
        ),
    ),
    Guarantee(
        29,
        "MACs",
        "MACs are the same on every machine, in training and evaluation mode, and for fused and explicit attention.",
        "exact: they are counted on the meta device, which every machine has, attention products included",
        (
            "tests/test_macs.py::test_modes_and_ways_to_attend_count_alike",
            "tests/test_macs.py::test_attention_is_counted",
            "tests/test_macs.py::test_known_models",
        ),
        (
            Mutation(
                "mscsa/macs.py",
                "counter.get_total_flops() // 2",
                "counter.get_total_flops()",
                "tests/test_macs.py::test_known_models",
                seen=True,
            ),
        ),
        "A model is always counted there, in a copy in evaluation mode: what torch's counter makes of the same model "
        "on a GPU or on a CPU "
        "with data, where it misses fused attention, is not compared.",
    ),
    Guarantee(
        30,
        "Equal runs from one seed",
        "Two runs of one seed are equal to the last bit on a CPU; with --run.deterministic on a GPU too, or the "
        "operation that cannot is named.",
        "weights and metrics; on a GPU float32, bfloat16 and float16, killed and resumed, and segmenters' gradients, "
        "where there is one",
        (
            f"{_T}/test_module.py::test_two_runs_of_one_seed_are_equal_and_another_seed_differs",
            f"{_T}/test_arithmetic.py::test_it_holds_within_and_not_after",
            f"{_T}/test_arithmetic.py::test_an_operation_that_is_not_deterministic_is_named",
            "tests/test_gpu.py::test_deterministic_runs_resume_exactly",
            "tests/test_gpu.py::test_deterministic_steps_of_segmenters",
        ),
        (
            Mutation(
                "mscsa/training/run.py",
                '    seed_generators(derive_seed("model", recipe.run.seed))\n',
                "",
                f"{_T}/test_module.py::test_two_runs_of_one_seed_are_equal_and_another_seed_differs",
                seen=True,
            ),
            Mutation(
                "mscsa/training/arithmetic.py",
                "    torch.use_deterministic_algorithms(True)\n",
                "",
                f"{_T}/test_arithmetic.py::test_an_operation_that_is_not_deterministic_is_named",
                seen=True,
            ),
        ),
        "That a GPU then gives the same bits is torch's promise, on the same kind of GPU with the same versions; the "
        "tests of it are skipped without a GPU, and passed on one H200.",
        in_readme=True,
    ),
    Guarantee(
        31,
        "Unstable latencies are told",
        "A latency whose ratio wanders is called unstable.",
        "5 % over the rounds",
        ("tests/speed/test_interleaved.py::test_a_ratio_that_wanders_is_called_unstable",),
        (
            Mutation(
                "mscsa/speed/interleaved.py",
                "return self.spread <= UNSTABLE_SPREAD",
                "return True",
                "tests/speed/test_interleaved.py::test_a_ratio_that_wanders_is_called_unstable",
                seen=True,
            ),
        ),
        "5 %, not 2 %, and no test times a model twice: on shared machines repeated runs of the same model differ by "
        "as much.",
    ),
    Guarantee(
        32,
        "A shared model",
        "Processes that share a model (`run.strategy fsdp`) train it to the weights of one process, and write the "
        "checkpoint "
        "that one process or DDP goes on from.",
        "2 processes, float64 and fixed batch norm, to 1e-9; each keeps half of the bytes of parameters, average and "
        "optimiser",
        (
            f"{_W}/test_fsdp.py::test_two_processes_that_share_a_model_train_to_the_same_weights",
            f"{_W}/test_fsdp.py::test_each_process_keeps_half_of_what_lasts",
            f"{_W}/test_fsdp.py::test_the_checkpoint_has_no_trace_of_the_shares",
            f"{_W}/test_fsdp.py::test_a_run_goes_on_with_another_strategy",
            f"{_W}/test_fsdp.py::test_one_process_goes_on_from_the_file_of_two",
            f"{_W}/test_fsdp.py::test_a_killed_run_ends_as_the_one_that_was_not",
            f"{_T}/test_sharding.py::test_shares_have_the_gradients_of_the_whole",
        ),
        (
            Mutation(
                "mscsa/training/moving_average.py",
                "            shard(self.model, trainer.strategy.mesh)",
                "            pass",
                f"{_W}/test_fsdp.py::test_each_process_keeps_half_of_what_lasts",
                seen=True,
            ),
            Mutation(
                "mscsa/training/sharding.py",
                "is_apart and share <= LARGEST",
                "share <= LARGEST",
                f"{_T}/test_sharding.py::test_what_is_not_run_once_or_is_not_apart_is_in_no_unit",
                seen=True,
            ),
        ),
        "Several GPUs: there were none to run it on. Processes on a CPU did.",
    ),
    Guarantee(
        33,
        "Logs",
        "What is logged is what happened: means over the steps since the last entry and over all processes, the "
        "learning rate of the step itself, images per second without evaluations.",
        "exact; two processes to 1e-9",
        (
            f"{_T}/test_callbacks.py::test_steps_are_logged_as_means_since_the_last_entry",
            f"{_W}/test_ddp.py::test_the_logged_loss_is_the_mean_over_the_processes",
        ),
        (
            Mutation(
                "mscsa/training/callbacks.py",
                '"train_loss": sum(self._losses)',
                '"train_loss": 3 * sum(self._losses)',
                f"{_T}/test_callbacks.py::test_steps_are_logged_as_means_since_the_last_entry",
                seen=True,
            ),
            Mutation(
                "mscsa/training/callbacks.py",
                '"images_per_s": (self._step',
                '"images_per_s": 7 * (self._step',
                f"{_T}/test_callbacks.py::test_steps_are_logged_as_means_since_the_last_entry",
                seen=True,
            ),
        ),
    ),
    Guarantee(
        34,
        "Which weights a run exports",
        "A run with a moving average evaluates it and the weights themselves, and exports the better, the average "
        "among equals, as "
        "`best.safetensors` and `last.safetensors`; the other is kept beside it. The decay grows with the run, so "
        "that the average of a "
        "short one is not all start, and a run that is short for its decay is told so.",
        "decay min(d, (1 + t) / (10 + t)); after 180 steps at 0.998 the first has less than a millionth of the "
        "average, with a fixed decay 70 %",
        (
            f"{_T}/test_callbacks.py::test_the_better_of_average_and_weights_is_exported_and_the_other_kept",
            f"{_T}/test_callbacks.py::test_the_best_weights_are_the_earliest_of_the_best_score",
            f"{_T}/test_moving_average.py::test_moving_average_is_the_recursion",
            f"{_T}/test_moving_average.py::test_the_start_of_a_short_run_has_little_share",
            f"{_T}/test_moving_average.py::test_a_run_that_is_short_for_its_decay_is_told",
            f"{_T}/test_moving_average.py::test_the_log_of_a_short_run_has_the_warning",
            f"{_T}/test_run.py::test_exported_weights_rebuild_the_model_and_its_accuracy",
            f"{_R}::test_stopped_in_an_evaluation",
        ),
        (
            Mutation(
                "mscsa/training/callbacks.py",
                "found.sort(key=lambda each: -ranking.worth(",
                "found.sort(key=lambda each: ranking.worth(",
                f"{_T}/test_callbacks.py::test_the_better_of_average_and_weights_is_exported_and_the_other_kept",
                seen=True,
            ),
            Mutation(
                "mscsa/training/moving_average.py",
                "return min(decay, (1 + update) / (10 + update))",
                "return decay",
                f"{_T}/test_moving_average.py::test_the_start_of_a_short_run_has_little_share",
                seen=True,
            ),
            Mutation(
                "mscsa/training/run.py",
                "        warnings_.append(short_run_warning(ema_decay, session.evaluate.total_steps))\n",
                "        pass\n",
                f"{_T}/test_moving_average.py::test_the_log_of_a_short_run_has_the_warning",
                seen=True,
            ),
        ),
        "Better is meant of the images of validation, by which the best evaluation is chosen, too: a score of them is "
        "a little too good.",
    ),
)


def page() -> str:
    """Write the page."""
    lines = [
        "# Guarantees",
        "",
        "What is promised, at which size, by which test. The page is written from `tests/guarantees.py`, which also has",
        "changes of the code that these tests must notice: `python -m tests.mutations` makes them, one at a time, in "
        "a copy.",
        "Where a test was seen to fail so, the promise says which. 1 to 31 are the list that the project began with, in its",
        "order, and say where less is held than was meant; those from 32 on came later. What a size says of `make "
        "test-slow`",
        "and `make test-long` is not run by `make test`: the first runs before every change, the second by hand.",
    ]
    for each in GUARANTEES:
        lines += ["", f"## {each.number}. {each.name}", "", each.promise, "", f"* Size: {each.figure}."]
        if each.limit:
            lines.append(f"* Not promised: {each.limit}")
        lines += [f"* `{test}`" for test in each.tests]
        for test in dict.fromkeys(mutation.test for mutation in each.mutations if mutation.seen):
            broken = [
                f"`{mutation.path}`" for mutation in each.mutations if mutation.seen and mutation.test == test
            ]
            lines.append(
                f"* Seen to fail with {', '.join(dict.fromkeys(broken))} broken on purpose: `{test}`"
            )
    return "\n".join(lines) + "\n"


def readme_list() -> str:
    """Write the README's list and what it says before it, without what lies around it."""
    count = (
        f"all {len(GUARANTEES)}, with sizes, limits, and which tests were seen to fail with the code broken"
    )
    lines = [f"Each is held by tests ([{count}](docs/guarantees.md)).", ""]
    return "\n".join([*lines, *(f"* {each.promise}" for each in GUARANTEES if each.in_readme)])


def with_list(readme: str) -> str:
    """Put the list into the README."""
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n{readme_list()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    README.write_text(with_list(README.read_text(encoding="utf-8")), encoding="utf-8")
