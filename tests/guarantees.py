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
_C, _R, _F = f"{_T}/test_checkpointing.py", f"{_W}/test_resume.py", "tests/test_files.py"
_BOTH = "tests/models/test_model.py"

GUARANTEES = (
    Guarantee(
        1,
        "Exact resume",
        "A run that is killed at any step and resumed ends with the same bits (CPU, fp32): weights, optimiser, "
        "moving average, sample order, metrics; also extended, with patience or deterministic.",
        "kills in 4 steps with 0 and 2 loader workers",
        (
            f"{_R}::test_kill_and_resume_is_exact",
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
        "With `run.compile` it is not shown: what torch makes of a model may depend on what it saw before.",
        in_readme=True,
    ),
    Guarantee(
        2,
        "A kill during a save",
        "A kill during a save leaves a whole checkpoint.",
        "8 kills, at different places of a save",
        (
            f"{_C}::test_kill_while_saving_leaves_a_whole_checkpoint",
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
        ),
        tuple(
            Mutation(
                "mscsa/files.py",
                old,
                "pass",
                f"{_F}::test_the_file_is_on_the_disk_before_it_is_renamed_and_the_folder_after",
                seen=True,
            )
            for old in ("os.fsync(file.fileno())", "os.fsync(folder)")
        ),
        "Shares that sync no folders take the file all the same.",
    ),
    Guarantee(
        4,
        "A full disk",
        "A full disk ends a run in one line, and the last checkpoint stays; a run that would not fit is not started, "
        "with the bytes it needs and those that are free.",
        "the estimate to one byte; a file that the kernel cuts off",
        (
            f"{_C}::test_a_full_disk_is_one_line_and_loses_nothing",
            f"{_F}::test_a_full_disk_leaves_the_previous_file",
            f"{_C}::test_no_start_without_room",
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
        "In the middle of a save the message gives no bytes: what it lacks is known to the file system alone.",
    ),
    Guarantee(
        5,
        "A folder that is gone",
        "A folder that is read-only or gone is an error at the first save.",
        "one save",
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
            f"{_R}::test_second_signal_ends_at_once",
            f"{_T}/test_interrupt.py::test_the_first_signal_is_remembered_and_the_second_ends_at_once",
            f"{_W}/test_ddp.py::test_a_signal_to_one_process_stops_both",
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
        "No number of seconds: a step and a save take what they take; a Slurm job should be signalled that long before "
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
        ),
        "NCCL is not tested: the tests run without a GPU.",
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
        "damaged weights are refused.",
        "300 random flips of each kind of file, 4 cuts",
        (
            f"{_C}::test_every_flipped_bit_is_seen_or_changes_nothing",
            f"{_C}::test_a_flipped_bit_in_the_weights_is_seen",
            f"{_C}::test_a_truncated_checkpoint_is_refused",
            f"{_C}::test_the_checkpoint_before_it_is_kept_and_taken_where_the_last_is_damaged",
            f"{_R}::test_a_damaged_checkpoint_gives_way_to_the_one_before_it",
            "tests/checkpoints/test_checksum.py::test_every_flipped_bit_is_seen",
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
        "No automatic way back: the same step with the same images gives the same loss. In fp16 the scaler skips "
        "gradients that are not finite, as it is made to.",
        in_readme=True,
    ),
    Guarantee(
        11,
        "Unreadable images",
        "An unreadable image is one line with its path. Up to --data.max_bad of them (0 unless told) are replaced, the "
        "same in every run, and listed.",
        "each format, 0 bytes, cuts, wrong endings, CMYK, 16 bits, palettes, EXIF, animations",
        (
            "tests/data/test_images.py::test_truncated",
            "tests/data/test_images.py::test_no_image",
            "tests/data/test_images.py::test_damaged_bytes_in_the_middle_never_escape_as_another_exception",
            "tests/data/test_tolerance.py"
            "::test_the_next_readable_sample_takes_the_place_with_the_randomness_of_the_key",
            f"{_T}/test_bad_images.py::test_they_are_replaced_left_out_and_listed",
            f"{_T}/test_bad_images.py::test_one_more_than_allowed_ends_the_run_in_one_line",
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
        "A number, not a share: it is stated by the person who knows the data.",
    ),
    Guarantee(
        12,
        "Decompression bombs",
        "A decompression bomb is refused by its header, before it is decoded.",
        "more than 89,478,485 pixels",
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
        in_readme=False,
    ),
    Guarantee(
        13,
        "Wrong annotations are found",
        "`mscsa check-data` finds what is wrong with annotations in COCO's format, each once, and nothing else.",
        "60 defects and more; time and memory on 118,000 images: `benchmarks/check_coco.py`",
        (
            "tests/data/coco/test_annotation_checks.py::test_what_is_wrong_is_found_once",
            "tests/data/coco/test_file_checks.py::test_what_is_wrong_is_found_once",
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
        "A time is no test: it is of a machine.",
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
        "60 random files",
        (
            "tests/cli/test_fuzzed_files.py::test_a_malformed_file_is_one_line",
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
    ),
    Guarantee(
        17,
        "No code from checkpoints",
        "No code from a checkpoint is ever run: safetensors, or pickles read as tensors only.",
        "15 ways to hide a call",
        (
            "tests/checkpoints/test_reading.py::test_a_malicious_pickle_is_never_executed",
            "tests/checkpoints/test_pickles.py::test_calls_of_the_standard_library_are_refused_and_not_run",
            "tests/checkpoints/test_pickles.py::test_the_malicious_pickle_would_work",
            f"{_C}::test_code_in_a_checkpoint_is_never_run",
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
        "one connection, 5 s",
        (
            "tests/backbones/test_weight_sources.py::test_without_a_network_the_hub_is_not_asked",
            "tests/backbones/test_weight_sources.py"
            "::test_what_was_downloaded_before_is_there_without_a_network",
            "tests/backbones/test_weight_sources.py::test_a_download_that_breaks_off_is_one_line",
            "tests/models/test_pretrained.py"
            "::test_without_a_network_other_weights_are_one_line_in_every_model",
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
        "Downloads are the hub's client's, whose partial files have other names; a checksum is in our own files alone.",
    ),
    Guarantee(
        19,
        "Weights that fit in part",
        "Weights that fit in part are counted part by part; none is filled by half, and what does not fit is refused.",
        "every registered model in both forms",
        (
            "tests/checkpoints/test_loading.py::test_no_part_is_filled_by_half",
            "tests/checkpoints/test_loading.py::test_what_does_not_fit_is_refused_and_changes_nothing",
            "tests/checkpoints/test_loading.py"
            "::test_both_forms_of_every_registered_model_share_backbone_and_mscsa",
            f"{_BOTH}::test_in_chans",
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
    ),
    Guarantee(
        20,
        "Light imports",
        "The package imports neither Lightning nor what only some tasks need; the command line starts without torch.",
        "by what is imported, not by a clock",
        (
            "tests/test_import_layers.py::test_importing_the_package_is_light",
            "tests/test_import_layers.py::test_the_command_line_starts_without_torch",
        ),
        (
            Mutation(
                "mscsa/errors.py",
                "from typing import Any\n",
                "from typing import Any\n\nimport rich\n",
                "tests/test_import_layers.py::test_importing_the_package_is_light",
                seen=True,
            ),
        ),
        "`constraints.txt` pins versions without hashes, since torch's wheels differ by machine. `import mscsa` takes the "
        "seconds that importing timm takes.",
    ),
    Guarantee(
        21,
        "Any size, any batch",
        "Any size gives maps of the backbone's shapes; a batch of one trains, or is refused by name.",
        "odd and narrow sizes on three kinds of backbone",
        (
            f"{_BOTH}::test_odd_and_non_square_sizes",
            f"{_BOTH}::test_channels_last_backbone_at_other_sizes",
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
        "Not 500 sizes on each backbone: what depends on the size is one function of the strides, tested for itself "
        "(`tests/attention/test_pooling.py`).",
    ),
    Guarantee(
        22,
        "A gradient for every parameter",
        "Every parameter of a built model gets a gradient in its task: DDP needs no `find_unused_parameters`. "
        "Channels-last and saving change nothing, gradient checkpointing no output, no gradient and no statistic "
        "of ours.",
        "every registered family",
        (
            f"{_BOTH}::test_every_parameter_gets_a_gradient",
            f"{_BOTH}::test_gradient_checkpointing_changes_nothing",
            f"{_BOTH}::test_state_dict_round_trip",
            f"{_BOTH}::test_channels_last_is_equal",
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
        "Under gradient checkpointing timm's own backbones count a batch's statistics twice, as in timm.",
        in_readme=True,
    ),
    Guarantee(
        23,
        "Unchanged at step 0",
        "A pyramid's maps are the backbone's own at step 0; costs are the closed form's.",
        "bit for bit; 0.1 %",
        (
            "tests/attention/test_fusion.py::test_maps_are_unchanged_at_the_start",
            "tests/models/test_register.py::test_the_start_keeps_pretrained_features",
            "tests/attention/test_cost.py::test_closed_form_equals_the_counter",
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
        "The paper's printed costs are shown beside ours, not promised: one of them is not explained (decisions.md).",
    ),
    Guarantee(
        24,
        "One graph under torch.compile",
        "MSCSA compiles to one graph; one dynamic graph serves every size.",
        "no graph break, no recompilation over three sizes",
        (
            "tests/attention/test_contract.py::test_compiles_to_one_graph",
            "tests/attention/test_contract.py::test_one_dynamic_graph_serves_every_size",
            f"{_BOTH}::test_whole_models_compile_to_one_graph",
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
        "Whole models are one graph at one size; how many more a backbone of timm's needs is its own.",
    ),
    Guarantee(
        25,
        "Export with free sizes",
        "MSCSA and whole models export by `torch.export` with free sizes.",
        "every size at which MSCSA runs",
        (
            "tests/attention/test_contract.py::test_exports_with_any_sizes",
            "tests/attention/test_pooling.py::test_exported_windows_are_exact_at_every_size",
            f"{_BOTH}::test_whole_models_export_with_any_size",
        ),
        (
            Mutation(
                "mscsa/attention/pooling.py",
                "is_graph = torch.compiler.is_exporting() or torch.jit.is_tracing()",
                "is_graph = False",
                "tests/attention/test_pooling.py::test_exported_windows_are_exact_at_every_size",
                seen=True,
            ),
        ),
    ),
    Guarantee(
        26,
        "Half precision",
        "Half precision gives finite outputs on large activations, and precise boxes.",
        "activations of 60 standard deviations in fp16 and bf16",
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
        "No cosine to float32 under stress: a softmax of logits of thousands is decided by the last bits of bf16.",
    ),
    Guarantee(
        27,
        "Everything is evaluated once",
        "Every image and every pixel is evaluated exactly once, for any number of processes.",
        "1 to 4 processes in the order of samples, 1 and 2 in whole runs; lengths that they do not divide",
        (
            "tests/data/test_sampler.py::test_evaluation_takes_each_sample_once",
            f"{_W}/test_ddp.py::test_each_sample_is_evaluated_once_by_some_process",
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
        in_readme=True,
    ),
    Guarantee(
        28,
        "AP and mIoU",
        "AP is pycocotools', mIoU that of counting by hand.",
        "1e-6, with crowds and ties; exact",
        (
            "tests/evaluation/test_coco_ap.py::test_equal_to_pycocotools",
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
        "MACs are the same wherever and however they are counted.",
        "on the meta device, which every machine has; attention products included",
        ("tests/test_macs.py::test_attention_is_counted", "tests/test_macs.py::test_known_models"),
        (
            Mutation(
                "mscsa/macs.py",
                "counter.get_total_flops() // 2",
                "counter.get_total_flops()",
                "tests/test_macs.py::test_known_models",
                seen=True,
            ),
        ),
    ),
    Guarantee(
        30,
        "Equal runs from one seed",
        "Two runs of one seed are equal to the last bit on a CPU; with --run.deterministic on a GPU too, or the "
        "operation that cannot is named.",
        "weights and metrics",
        (
            f"{_T}/test_module.py::test_two_runs_of_one_seed_are_equal_and_another_seed_differs",
            f"{_T}/test_arithmetic.py::test_it_holds_within_and_not_after",
            f"{_T}/test_arithmetic.py::test_an_operation_that_is_not_deterministic_is_named",
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
        "That a GPU then gives the same bits is torch's promise; the tests run without one.",
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
        "5 %, not 2 %: on shared machines repeated runs of the same model differ by as much.",
    ),
    Guarantee(
        32,
        "A shared model",
        "Processes that share a model (`run.strategy fsdp`) train it to the weights of one process, and write the checkpoint "
        "that one process or DDP goes on from.",
        "2 processes, float64 and fixed batch norm, to 1e-9; each keeps half of the bytes of parameters, average and optimiser",
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
)


def page() -> str:
    """Write the page."""
    lines = [
        "# Guarantees",
        "",
        "What is promised, at which size, by which test. The page is written from `tests/guarantees.py`, which also has",
        "changes of the code that these tests must notice: `python -m tests.mutations` makes them, one at a time, in a copy.",
        "Where a test was seen to fail so, the promise says which. 1 to 31 are the list that the project began with, in its",
        "order, and say where less is held than was meant; those from 32 on came later. What a size says of `make test-slow`",
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
    count = f"all {len(GUARANTEES)}, with sizes, limits, and which tests were seen to fail with the code broken"
    lines = [f"Each is held by tests ([{count}](docs/guarantees.md)).", ""]
    return "\n".join([*lines, *(f"* {each.promise}" for each in GUARANTEES if each.in_readme)])


def with_list(readme: str) -> str:
    """Put the list into the README."""
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n{readme_list()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    README.write_text(with_list(README.read_text(encoding="utf-8")), encoding="utf-8")
