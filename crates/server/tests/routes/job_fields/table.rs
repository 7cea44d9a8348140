//! The rows of `docs/job-fields.md`.

use super::Row;

#[rustfmt::skip]
pub(super) const FIELDS: &[Row] = &[
    Row {
        field: "name",
        behaviour: "`accounts/{account}/supervisedFineTuningJobs/{job}`. The id comes from the request, or is eight letters and digits.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/create.rs::defaults_are_filled_in"],
        spelled: &[],
    },
    Row {
        field: "displayName",
        behaviour: "For people; 63 characters at most.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::a_name_for_people_is_kept_and_not_long"],
        spelled: &[],
    },
    Row {
        field: "createTime",
        behaviour: "When it was created.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::times_follow_a_job"],
        spelled: &[],
    },
    Row {
        field: "completedTime",
        behaviour: "When it came to its end; absent before, and again after a resume.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::times_follow_a_job",
            "crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed",
        ],
        spelled: &[],
    },
    Row {
        field: "dataset",
        behaviour: "Required. A name or a bare id. FAILED_PRECONDITION if there is none, or if it is not READY. The run keeps the rows that it began with.",
        proofs: &[
            "crates/domain/src/job/tests.rs::facts_decide",
            "crates/domain/src/job/tests.rs::wrong_values_are_all_told_at_once",
            "crates/server/tests/routes/supervised_fine_tuning_job/create.rs::defaults_are_filled_in",
            "crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::datasets_that_are_not_ready_are_refused",
            "crates/server/tests/routes/supervised_fine_tuning_job/run_settings.rs::a_job_that_asks_for_nothing_has_the_defaults",
        ],
        spelled: &["datasets"],
    },
    Row {
        field: "state",
        behaviour: "Where it stands; `docs/API-DESIGN.md` has the table of all states.",
        proofs: &[
            "crates/domain/tests/states.rs::the_whole_table",
            "crates/server/src/gateway/job/mod.rs::grpc_shows_no_new_states",
            "crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed",
        ],
        spelled: &[],
    },
    Row {
        field: "status",
        behaviour: "OK, or why the job failed, rests or expired. Of a job that goes well, the message tells of rows that are left out or set aside, and of a checkpoint that was damaged.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed",
            "crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_that_waited_too_long_says_so",
            "crates/server/tests/routes/supervised_fine_tuning_job/pause.rs::a_paused_job_rests_until_it_is_resumed",
            "crates/server/src/jobs/report.rs::what_a_trainer_goes_on_from_is_told_and_what_else_it_warns_of_is_not",
        ],
        spelled: &["run_note"],
    },
    Row {
        field: "status.code",
        behaviour: "A code of google.rpc: whose mistake it is.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed",
            "crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_that_waited_too_long_says_so",
        ],
        spelled: &[],
    },
    Row {
        field: "status.message",
        behaviour: "A sentence: what, where, what to do. No row contents.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed",
            "crates/train/tests/train/rows.rs::bad_rows_are_listed_by_line_all_in_one_message",
        ],
        spelled: &[],
    },
    Row {
        field: "createdBy",
        behaviour: "Email of the user whose key created it.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::a_job_says_whose_key_made_it"],
        spelled: &[],
    },
    Row {
        field: "outputModel",
        behaviour: "Id or full name in the job's account; by default the job's id. ALREADY_EXISTS before any training if the model exists or another job makes it.",
        proofs: &[
            "crates/domain/src/job/tests.rs::output_model_is_an_id_or_a_name_of_the_account",
            "crates/server/tests/routes/supervised_fine_tuning_job/create.rs::defaults_are_filled_in",
            "crates/server/tests/routes/supervised_fine_tuning_job/create.rs::an_output_model_is_made_once",
        ],
        spelled: &[],
    },
    Row {
        field: "baseModel",
        behaviour: "Name, or id in the own account or the catalogue. Exactly one of it and `warmStartFrom`.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::an_id_is_looked_for_in_the_account_and_in_the_catalogue",
            "crates/server/tests/routes/supervised_fine_tuning_job/warm_start.rs::what_cannot_be_gone_on_from_is_refused",
        ],
        spelled: &[],
    },
    Row {
        field: "warmStartFrom",
        behaviour: "An adapter to go on from, of a job or uploaded. Its base, rank, alpha, layers and chat template carry over; the optimiser begins anew. Exactly one of it and `baseModel`.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/warm_start.rs::what_an_adapter_is_carries_over_and_the_run_keeps_it",
            "crates/server/tests/routes/supervised_fine_tuning_job/warm_start.rs::what_a_job_made_is_gone_on_from",
            "crates/server/tests/routes/model/validate_upload.rs::a_base_and_an_adapter_come_in_and_answer",
            "crates/server/tests/routes/supervised_fine_tuning_job/warm_start.rs::what_cannot_be_gone_on_from_is_refused",
            "crates/train/tests/train/warm.rs::the_first_step_has_the_loss_of_the_adapter_and_trains_its_layers_only",
        ],
        spelled: &["warm_start_dir"],
    },
    Row {
        field: "jinjaTemplate",
        behaviour: "Chat template in place of the base's own. Tried on the first rows at creation, stored with the model, and used when that is served.",
        proofs: &[
            "crates/cli/tests/server/jobs.rs::a_template_is_tried_trained_with_stored_and_used_in_chats",
            "crates/server/tests/routes/supervised_fine_tuning_job/template.rs::a_template_that_works_makes_a_job_and_is_tried_on_rows",
            "crates/server/tests/routes/supervised_fine_tuning_job/template.rs::a_template_that_cannot_be_compiled_makes_no_job",
        ],
        spelled: &[],
    },
    Row {
        field: "earlyStop",
        behaviour: "Ends the training when the evaluation loss falls no more, and makes the best adapter the model. Needs evaluation rows, else INVALID_ARGUMENT.",
        proofs: &[
            "crates/train/tests/train/early.rs::a_run_ends_early_with_its_best_adapter",
            "crates/server/tests/routes/supervised_fine_tuning_job/training.rs::an_early_end_needs_rows_to_evaluate_on",
            "crates/server/tests/routes/supervised_fine_tuning_job/run_settings.rs::every_setting_reaches_the_run",
        ],
        spelled: &[],
    },
    Row {
        field: "epochs",
        behaviour: "1 to 100; 0 is 1.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::numbers_have_ranges",
            "crates/domain/src/job/tests.rs::every_default_is_filled_in",
            "crates/server/tests/routes/supervised_fine_tuning_job/run_settings.rs::every_setting_reaches_the_run",
            "crates/train/tests/train/learning.rs::a_run_learns_reports_and_writes_everything",
        ],
        spelled: &[],
    },
    Row {
        field: "learningRate",
        behaviour: "Above 0, at most 0.1; 0 follows the base's size, the rank and the number of steps (`docs/adr/005-learning-rate.md`), which are taken for 1000 if nobody has counted the rows behind an `externalUrl`.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::numbers_have_ranges",
            "crates/domain/src/job/tests.rs::learning_rate_follows_weights_rank_and_steps",
            "crates/domain/src/job/tests.rs::steps_of_the_default_rate_are_the_jobs",
            "crates/domain/src/job/tests.rs::steps_of_rows_that_lie_elsewhere_are_not_known",
            "crates/server/tests/routes/supervised_fine_tuning_job/run_settings.rs::every_setting_reaches_the_run",
            "crates/train/tests/train/early.rs::the_rate_of_each_step_is_that_of_the_schedule",
        ],
        spelled: &["learning_rate_default"],
    },
    Row {
        field: "maxContextLength",
        behaviour: "16 to the base's own length, in tokens; 0 is the base's, or `batchSize` if that is less. Longer rows are left out, counted and listed, never cut.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::numbers_have_ranges",
            "crates/domain/src/job/tests.rs::context_and_batch_fit_each_other",
            "crates/server/tests/routes/supervised_fine_tuning_job/run_settings.rs::every_setting_reaches_the_run",
            "crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed",
            "crates/train/tests/train/rows.rs::rows_that_are_too_long_are_dropped_and_their_lines_told",
        ],
        spelled: &[],
    },
    Row {
        field: "loraRank",
        behaviour: "1 to 32; 0 is 8. The adapter is scaled by 2.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::numbers_have_ranges",
            "crates/domain/src/job/tests.rs::every_default_is_filled_in",
            "crates/server/tests/routes/supervised_fine_tuning_job/run_settings.rs::every_setting_reaches_the_run",
            "crates/train/tests/train/learning.rs::the_adapter_has_the_rank_and_the_scale_of_the_job",
        ],
        spelled: &[],
    },
    Row {
        field: "baseModelWeightPrecision",
        behaviour: "Refused: the base is trained on as it is stored.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::what_is_not_acted_on_is_refused_by_name"],
        spelled: &[],
    },
    Row {
        field: "wandbConfig",
        behaviour: "Metrics, configuration, system figures and the end of the job go to a W&B service, which may be away: the job does not notice, and what was missed is sent later. A job that is resumed goes on with its run there.",
        proofs: &[
            "conformance/weights_and_biases.py::undisturbed",
            "conformance/weights_and_biases.py::away",
            "conformance/weights_and_biases.py::killed",
            "conformance/weights_and_biases.py::cancelled",
        ],
        spelled: &["recorder"],
    },
    Row {
        field: "wandbConfig.enabled",
        behaviour: "Never needed: a key and a project mean that it is wanted, and false is no more than nothing said.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/wandb.rs::it_is_off_when_nothing_but_that_is_said",
            "crates/server/tests/routes/supervised_fine_tuning_job/wandb.rs::key_and_project_are_enough",
        ],
        spelled: &[],
    },
    Row {
        field: "wandbConfig.apiKey",
        behaviour: "Sealed in the store until nothing more is to be sent, or for 24 hours after the end of a job that may be resumed; never sent back.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/wandb.rs::key_and_project_are_enough",
            "crates/server/tests/routes/supervised_fine_tuning_job/wandb.rs::what_is_missing_or_cannot_be_is_named",
            "conformance/weights_and_biases.py::no_key_on_disk",
            "crates/store/src/datastore/sealed/tests.rs::the_key_goes_when_the_sending_is_done_or_the_job_is_deleted",
            "crates/store/src/datastore/sealed/tests.rs::the_key_of_a_job_that_may_be_resumed_is_kept_for_a_while",
        ],
        spelled: &["KEY", "wandb_key"],
    },
    Row {
        field: "wandbConfig.project",
        behaviour: "Required with a key.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/wandb.rs::what_is_missing_or_cannot_be_is_named",
            "crates/server/tests/routes/supervised_fine_tuning_job/wandb.rs::key_and_project_are_enough",
        ],
        spelled: &[],
    },
    Row {
        field: "wandbConfig.entity",
        behaviour: "Whose project; by default the key's.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/wandb.rs::key_and_project_are_enough",
            "crates/server/tests/routes/supervised_fine_tuning_job/wandb.rs::whose_project_it_is_the_key_says_unless_the_job_does",
        ],
        spelled: &[],
    },
    Row {
        field: "wandbConfig.runId",
        behaviour: "Id of the run there; by default one that the server makes. A run that has rows already is left as it is, and a warning says so.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/wandb.rs::key_and_project_are_enough",
            "conformance/weights_and_biases.py::taken",
        ],
        spelled: &[],
    },
    Row {
        field: "wandbConfig.url",
        behaviour: "Where the run is shown, from when the service has said it.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/wandb.rs::whose_project_it_is_the_key_says_unless_the_job_does",
            "conformance/weights_and_biases.py::undisturbed",
        ],
        spelled: &[],
    },
    Row {
        field: "evaluationDataset",
        behaviour: "A name or a bare id, with the rules of `dataset`. Its rows are scored after each epoch and never trained on.",
        proofs: &[
            "crates/train/tests/train/learning.rs::evaluation_rows_are_scored_after_each_epoch_and_never_trained_on",
            "crates/domain/src/job/tests.rs::facts_decide",
            "crates/server/tests/routes/supervised_fine_tuning_job/create.rs::evaluation_rows_are_set_aside_unless_a_dataset_is_given",
            "crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::datasets_that_are_not_ready_are_refused",
            "crates/server/tests/routes/supervised_fine_tuning_job/run_settings.rs::the_other_settings_reach_the_run_too",
        ],
        spelled: &["eval_files"],
    },
    Row {
        field: "acceleratorType",
        behaviour: "This server has no accelerators: FAILED_PRECONDITION.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/placement.rs::what_is_not_here_is_refused_with_what_is"],
        spelled: &[],
    },
    Row {
        field: "acceleratorCount",
        behaviour: "This server has no accelerators: FAILED_PRECONDITION above 0.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/placement.rs::what_is_not_here_is_refused_with_what_is"],
        spelled: &[],
    },
    Row {
        field: "isTurbo",
        behaviour: "Products with the base's weights in 8-bit integers; the job fails where the processor lacks the instructions.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/run_settings.rs::every_setting_reaches_the_run",
            "crates/train/tests/train/learning.rs::integers_are_used_or_refused",
        ],
        spelled: &["Int8"],
    },
    Row {
        field: "evalAutoCarveout",
        behaviour: "A tenth of the rows that are not too long, 100 at most and one at least, chosen by the job's seed, is scored and never trained on. An `evaluationDataset` wins.",
        proofs: &[
            "crates/train/tests/train/evaluation.rs::rows_that_are_set_aside_are_scored_and_never_trained_on",
            "crates/data/src/carve.rs::a_tenth_is_chosen_but_one_at_least_and_a_hundred_at_most",
            "crates/server/tests/routes/supervised_fine_tuning_job/create.rs::evaluation_rows_are_set_aside_unless_a_dataset_is_given",
            "crates/server/tests/routes/supervised_fine_tuning_job/run_settings.rs::every_setting_reaches_the_run",
        ],
        spelled: &["eval_carveout", "carved_out"],
    },
    Row {
        field: "region",
        behaviour: "One that the operator has configured, else FAILED_PRECONDITION that lists them; by default the first.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/placement.rs::resolved_values_come_back",
            "crates/server/tests/routes/supervised_fine_tuning_job/placement.rs::what_is_not_here_is_refused_with_what_is",
        ],
        spelled: &[],
    },
    Row {
        field: "updateTime",
        behaviour: "When it changed last.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::times_follow_a_job"],
        spelled: &[],
    },
    Row {
        field: "nodes",
        behaviour: "0 or 1; more is UNIMPLEMENTED.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::numbers_have_ranges",
            "crates/domain/src/job/tests.rs::places_are_those_of_this_installation",
            "crates/server/tests/routes/supervised_fine_tuning_job/placement.rs::what_is_not_here_is_refused_with_what_is",
        ],
        spelled: &[],
    },
    Row {
        field: "batchSize",
        behaviour: "Most tokens of a packed batch, 1,048,576 at most and no fewer than `maxContextLength`. One of it and `batchSizeSamples`.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::numbers_have_ranges",
            "crates/domain/src/job/tests.rs::wrong_values_are_all_told_at_once",
            "crates/domain/src/job/tests.rs::context_and_batch_fit_each_other",
            "crates/server/tests/routes/supervised_fine_tuning_job/run_settings.rs::every_setting_reaches_the_run",
            "crates/train/tests/train/learning.rs::token_batches_hold_as_many_tokens_as_they_may",
        ],
        spelled: &["batch_size_tokens"],
    },
    Row {
        field: "mtpEnabled",
        behaviour: "Refused: heads that predict several tokens are not trained yet.",
        proofs: &[
            "crates/domain/src/job/tests.rs::draft_tokens_are_checked_before_they_are_refused",
            "crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::what_is_not_acted_on_is_refused_by_name",
        ],
        spelled: &[],
    },
    Row {
        field: "mtpNumDraftTokens",
        behaviour: "Refused: as `mtpEnabled`; what is not 1 to 3, or stands without it, is INVALID_ARGUMENT first.",
        proofs: &["crates/domain/src/job/tests.rs::draft_tokens_are_checked_before_they_are_refused"],
        spelled: &[],
    },
    Row {
        field: "mtpFreezeBaseModel",
        behaviour: "Refused: as `mtpEnabled`; without it INVALID_ARGUMENT first.",
        proofs: &["crates/domain/src/job/tests.rs::draft_tokens_are_checked_before_they_are_refused"],
        spelled: &[],
    },
    Row {
        field: "jobProgress",
        behaviour: "How far it is; no number in it ever goes back.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed",
            "crates/domain/tests/progress.rs::no_number_goes_back",
        ],
        spelled: &["progress"],
    },
    Row {
        field: "jobProgress.percent",
        behaviour: "Share of the optimiser steps that are done, 0 to 100.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed",
            "crates/cli/tests/server/jobs.rs::a_template_is_tried_trained_with_stored_and_used_in_chats",
        ],
        spelled: &[],
    },
    Row {
        field: "jobProgress.epoch",
        behaviour: "Whole epochs that are done.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed"],
        spelled: &[],
    },
    Row {
        field: "jobProgress.chunk",
        behaviour: "Always 0: training has no chunks.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed"],
        spelled: &[],
    },
    Row {
        field: "jobProgress.totalInputRequests",
        behaviour: "Rows of the dataset.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed",
            "crates/cli/tests/server/jobs.rs::a_template_is_tried_trained_with_stored_and_used_in_chats",
        ],
        spelled: &[],
    },
    Row {
        field: "jobProgress.totalProcessedRequests",
        behaviour: "Rows gone through, each once for every epoch.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed",
            "crates/cli/tests/server/jobs.rs::a_template_is_tried_trained_with_stored_and_used_in_chats",
        ],
        spelled: &[],
    },
    Row {
        field: "jobProgress.successfullyProcessedRequests",
        behaviour: "The same number: a row either trains or fails the job before the first step.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed"],
        spelled: &[],
    },
    Row {
        field: "jobProgress.failedRequests",
        behaviour: "Always 0, for the same reason.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed"],
        spelled: &[],
    },
    Row {
        field: "jobProgress.outputRows",
        behaviour: "Always 0: training writes no rows.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed"],
        spelled: &[],
    },
    Row {
        field: "jobProgress.inputTokens",
        behaviour: "Tokens gone through; 2,147,483,647 stands for more.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed"],
        spelled: &[],
    },
    Row {
        field: "jobProgress.outputTokens",
        behaviour: "Always 0: training generates none.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed"],
        spelled: &[],
    },
    Row {
        field: "jobProgress.cachedInputTokenCount",
        behaviour: "Always 0: training has no cache.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/progress.rs::a_job_tells_how_far_it_is_and_why_it_failed"],
        spelled: &[],
    },
    Row {
        field: "customImageTag",
        behaviour: "Refused: there are no images.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::what_is_not_acted_on_is_refused_by_name"],
        spelled: &[],
    },
    Row {
        field: "precision",
        behaviour: "Refused: `isTurbo` chooses the numbers.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::what_is_not_acted_on_is_refused_by_name"],
        spelled: &[],
    },
    Row {
        field: "extraArgs",
        behaviour: "Refused: the trainer takes none.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::what_is_not_acted_on_is_refused_by_name"],
        spelled: &[],
    },
    Row {
        field: "metricsFileSignedUrl",
        behaviour: "URL of the metrics so far, one JSON object a line; signed anew at each reading.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/get.rs::urls_follow_the_run",
            "conformance/weights_and_biases.py::undisturbed",
        ],
        spelled: &[],
    },
    Row {
        field: "awsS3Config",
        behaviour: "Opens the rows of a dataset with an `s3://` URL for the process that fetches them, and for nothing else. Without it the bucket must be public.",
        proofs: &["conformance/datasets_s3.py::whole_jobs"],
        spelled: &[],
    },
    Row {
        field: "awsS3Config.credentialsSecret",
        behaviour: "A secret with `aws_access_key_id` and `aws_secret_access_key`, and `aws_session_token` for a key that is given for a while.",
        proofs: &[
            "conformance/datasets_s3.py::whole_jobs",
            "crates/server/tests/routes/supervised_fine_tuning_job/storage.rs::what_cannot_open_them_is_refused",
            "crates/remote/src/s3.rs::keys_of_secrets",
        ],
        spelled: &["access_key_of_secret"],
    },
    Row {
        field: "awsS3Config.iamRoleArn",
        behaviour: "A role that the server takes by AssumeRoleWithWebIdentity; FAILED_PRECONDITION where the operator has set up none.",
        proofs: &[
            "conformance/datasets_s3.py::whole_jobs",
            "crates/server/tests/routes/supervised_fine_tuning_job/storage.rs::what_cannot_open_them_is_refused",
        ],
        spelled: &[],
    },
    Row {
        field: "azureBlobStorageConfig",
        behaviour: "The same for Azure Blob Storage.",
        proofs: &["conformance/datasets_azure.py::whole_jobs"],
        spelled: &[],
    },
    Row {
        field: "azureBlobStorageConfig.credentialsSecret",
        behaviour: "A secret with a `connection_string`, `sas_token` or `account_key`.",
        proofs: &[
            "conformance/datasets_azure.py::whole_jobs",
            "crates/server/tests/routes/supervised_fine_tuning_job/storage.rs::what_cannot_open_them_is_refused",
        ],
        spelled: &["by_secret"],
    },
    Row {
        field: "azureBlobStorageConfig.managedIdentityClientId",
        behaviour: "An identity that the server takes by workload identity federation; with `tenantId`.",
        proofs: &[
            "conformance/datasets_azure.py::whole_jobs",
            "crates/server/tests/routes/supervised_fine_tuning_job/storage.rs::what_cannot_open_them_is_refused",
        ],
        spelled: &["by_identity"],
    },
    Row {
        field: "azureBlobStorageConfig.tenantId",
        behaviour: "Its tenant.",
        proofs: &[
            "conformance/datasets_azure.py::whole_jobs",
            "crates/server/tests/routes/supervised_fine_tuning_job/storage.rs::what_cannot_open_them_is_refused",
        ],
        spelled: &["TENANT"],
    },
    Row {
        field: "trainerLogsSignedUrl",
        behaviour: "URL of what the trainer printed so far.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/get.rs::urls_follow_the_run"],
        spelled: &[],
    },
    Row {
        field: "gradientAccumulationSteps",
        behaviour: "Batches of one optimiser step, 1 to 1024; the loss is divided once by the whole step's trained tokens.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::numbers_have_ranges",
            "crates/server/tests/routes/supervised_fine_tuning_job/run_settings.rs::every_setting_reaches_the_run",
            "crates/train/tests/train/learning.rs::splits_into_micro_batches_and_accumulation_agree",
        ],
        spelled: &[],
    },
    Row {
        field: "learningRateWarmupSteps",
        behaviour: "Steps of linear warm-up, fewer than those of the whole training where they are known before; 0 is none.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::numbers_have_ranges",
            "crates/domain/src/job/tests.rs::wrong_values_are_all_told_at_once",
            "crates/server/tests/routes/supervised_fine_tuning_job/run_settings.rs::every_setting_reaches_the_run",
            "crates/train/tests/train/early.rs::the_rate_of_each_step_is_that_of_the_schedule",
        ],
        spelled: &[],
    },
    Row {
        field: "batchSizeSamples",
        behaviour: "Samples of a batch, 1 to 1024; 8 if neither it nor `batchSize` is given.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::numbers_have_ranges",
            "crates/domain/src/job/tests.rs::context_and_batch_fit_each_other",
            "crates/server/tests/routes/supervised_fine_tuning_job/run_settings.rs::the_other_settings_reach_the_run_too",
            "crates/train/tests/train/learning.rs::splits_into_micro_batches_and_accumulation_agree",
        ],
        spelled: &[],
    },
    Row {
        field: "estimatedCost",
        behaviour: "Tokens of all epochs times the operator's price for bases of that size, from when the rows have been counted.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/estimate_cost.rs::a_job_says_what_it_will_cost_before_it_runs",
            "crates/server/tests/routes/supervised_fine_tuning_job/estimate_cost.rs::what_was_counted_has_a_price",
            "crates/domain/src/price.rs::larger_models_may_cost_more",
            "crates/train/tests/train/estimate.rs::counts_are_those_of_the_run",
        ],
        spelled: &["prices", "tokens"],
    },
    Row {
        field: "optimizerWeightDecay",
        behaviour: "Decoupled weight decay of AdamW, at most 1; 0 is 0.01.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::numbers_have_ranges",
            "crates/domain/src/job/tests.rs::every_default_is_filled_in",
            "crates/server/tests/routes/supervised_fine_tuning_job/run_settings.rs::every_setting_reaches_the_run",
            "crates/train/tests/train/learning.rs::weight_decay_takes_its_share_of_the_rate_of_each_weight",
        ],
        spelled: &["weight_decay"],
    },
    Row {
        field: "purpose",
        behaviour: "PURPOSE_PILOT: a pilot job goes before others of its age, a few at once.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/queue.rs::a_pilot_goes_before_an_older_job",
            "crates/domain/src/schedule/tests.rs::pilots_have_a_head_start_and_a_limit",
            "crates/server/tests/routes/supervised_fine_tuning_job/placement.rs::resolved_values_come_back",
        ],
        spelled: &["is_pilot"],
    },
    Row {
        field: "usePurpose",
        behaviour: "`pilot` is the same.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/queue.rs::a_pilot_goes_before_an_older_job",
            "crates/server/tests/routes/supervised_fine_tuning_job/placement.rs::resolved_values_come_back",
            "crates/server/tests/routes/supervised_fine_tuning_job/placement.rs::what_is_not_here_is_refused_with_what_is",
        ],
        spelled: &[],
    },
    Row {
        field: "lrScheduler",
        behaviour: "`constant`, `linear` or `cosine` after the warm-up; `docs/API-DESIGN.md` has the formulas.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/run_settings.rs::every_setting_reaches_the_run",
            "crates/server/tests/routes/supervised_fine_tuning_job/run_settings.rs::the_other_settings_reach_the_run_too",
            "crates/server/tests/routes/supervised_fine_tuning_job/training.rs::the_schedule_of_the_rate_is_resolved_and_returned",
            "crates/train/tests/train/early.rs::the_rate_of_each_step_is_that_of_the_schedule",
        ],
        spelled: &["lr_schedule"],
    },
    Row {
        field: "rendererHuggingFaceRepoId",
        behaviour: "Refused: the template is the base's own, or `jinjaTemplate`.",
        proofs: &["crates/server/tests/routes/supervised_fine_tuning_job/fields.rs::what_is_not_acted_on_is_refused_by_name"],
        spelled: &[],
    },
    Row {
        field: "samplerCheckpointSaveIntervalSteps",
        behaviour: "Checkpoints of so many steps stay, 100 at most: they can be listed, promoted and chatted with.",
        proofs: &[
            "crates/train/tests/train/early.rs::checkpoints_of_an_interval_stay_and_change_nothing",
            "crates/server/tests/routes/supervised_fine_tuning_job/training.rs::only_so_many_checkpoints_are_kept",
            "crates/server/tests/routes/supervised_fine_tuning_job/checkpoint_list.rs::it_lists_what_the_run_holds",
            "crates/server/tests/routes/supervised_fine_tuning_job/checkpoint_chat.rs::a_checkpoint_that_stays_answers_while_the_job_is_there",
        ],
        spelled: &["sampler_checkpoint_interval_steps", "checkpoints"],
    },
    Row {
        field: "useReservation",
        behaviour: "Reserved capacity of the account is used first, then what all share.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/queue.rs::reserved_capacity_is_for_those_that_ask_for_it_and_comes_first",
            "crates/domain/src/schedule/tests.rs::reserved_capacity_comes_first_and_is_kept",
            "crates/server/tests/routes/supervised_fine_tuning_job/placement.rs::resolved_values_come_back",
        ],
        spelled: &["reservation"],
    },
    Row {
        field: "reservationTarget",
        behaviour: "Which reservation; an unknown one is FAILED_PRECONDITION that lists the known.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/queue.rs::a_job_uses_the_reservation_that_it_names",
            "crates/server/tests/routes/supervised_fine_tuning_job/placement.rs::what_is_not_here_is_refused_with_what_is",
        ],
        spelled: &[],
    },
    Row {
        field: "thinkingTraceHistoryMode",
        behaviour: "Whether the reasoning of earlier answers is left out behind the next question (interleaved) or kept; written into the chat template, so that serving does the same. Where the template cannot, FAILED_PRECONDITION. Unspecified: what the template does.",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/template.rs::the_history_of_thoughts_is_tried_and_shown",
            "crates/cli/tests/server/thinking.rs::the_history_of_thoughts_reaches_the_trainer_and_the_model",
            "crates/data/src/template/history.rs::thoughts_before_the_last_question_are_left_out",
            "crates/data/src/template/history.rs::thoughts_are_kept_where_the_template_can",
        ],
        spelled: &["ThinkingHistory"],
    },
    Row {
        field: "resourceEstimate",
        behaviour: "Intervals for time and memory, from when the rows have been counted (`bench/record` has them beside what came).",
        proofs: &[
            "crates/server/tests/routes/supervised_fine_tuning_job/estimate_cost.rs::a_job_says_what_it_will_cost_before_it_runs",
            "crates/server/tests/routes/supervised_fine_tuning_job/estimate_cost.rs::what_was_counted_has_a_price",
            "crates/train/tests/train/estimate.rs::counts_are_those_of_the_run",
        ],
        spelled: &["seconds"],
    },
];
