//! The rows of `docs/job-fields.md`.

use super::Row;

#[rustfmt::skip]
pub(super) const FIELDS: &[Row] = &[
    Row {
        field: "name",
        behaviour: "`accounts/{account}/supervisedFineTuningJobs/{job}`. The id comes from the request, or is eight letters and digits.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/create.rs::defaults_are_filled_in",
    },
    Row {
        field: "displayName",
        behaviour: "For people; 63 characters at most.",
        proof: "crates/domain/src/job/tests.rs::wrong_values_are_all_told_at_once",
    },
    Row {
        field: "createTime",
        behaviour: "When it was created.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/create.rs::defaults_are_filled_in",
    },
    Row {
        field: "completedTime",
        behaviour: "When it came to its end; absent before, and again after a resume.",
        proof: "crates/server/src/jobs/tests.rs::a_cancelled_job_stops_and_can_go_on",
    },
    Row {
        field: "dataset",
        behaviour: "Required. A name or a bare id. NOT_FOUND if there is none, FAILED_PRECONDITION if it is not READY. The run keeps the rows that it began with.",
        proof: "crates/domain/src/job/tests.rs::facts_decide",
    },
    Row {
        field: "state",
        behaviour: "Where it stands; `docs/API-DESIGN.md` has the table of all states.",
        proof: "crates/domain/tests/states.rs::the_whole_table",
    },
    Row {
        field: "status",
        behaviour: "OK, or why the job failed, rests or expired. Of a job that goes well, the message tells of rows that are left out or set aside.",
        proof: "crates/server/src/jobs/tests.rs::a_failure_says_whose_mistake_it_is",
    },
    Row {
        field: "status.code",
        behaviour: "A code of google.rpc: whose mistake it is.",
        proof: "crates/server/src/jobs/tests.rs::a_failure_says_whose_mistake_it_is",
    },
    Row {
        field: "status.message",
        behaviour: "A sentence: what, where, what to do. No row contents.",
        proof: "crates/server/src/jobs/tests.rs::a_job_tells_of_its_rows_and_its_progress_never_goes_back",
    },
    Row {
        field: "createdBy",
        behaviour: "Email of the user whose key created it.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/create.rs::defaults_are_filled_in",
    },
    Row {
        field: "outputModel",
        behaviour: "Id or full name in the job's account; by default the job's id. ALREADY_EXISTS before any training if the model exists or another job makes it.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/create.rs::an_output_model_is_made_once",
    },
    Row {
        field: "baseModel",
        behaviour: "Name, or id in the own account or the catalogue. Exactly one of it and `warmStartFrom`.",
        proof: "crates/domain/src/job/tests.rs::facts_decide",
    },
    Row {
        field: "warmStartFrom",
        behaviour: "An adapter to go on from, of a job or uploaded. Its base, rank, alpha, layers and chat template carry over; the optimiser begins anew. Exactly one of it and `baseModel`.",
        proof: "crates/train/tests/train/warm.rs::the_first_step_has_the_loss_of_the_adapter_and_trains_its_layers_only",
    },
    Row {
        field: "jinjaTemplate",
        behaviour: "Chat template in place of the base's own. Tried on the first rows at creation, stored with the model, and used when that is served.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/template.rs::a_template_that_cannot_be_compiled_makes_no_job",
    },
    Row {
        field: "earlyStop",
        behaviour: "Ends the training when the evaluation loss falls no more, and makes the best adapter the model. Needs evaluation rows, else INVALID_ARGUMENT.",
        proof: "crates/train/tests/train/early.rs::a_run_ends_early_with_its_best_adapter",
    },
    Row {
        field: "epochs",
        behaviour: "1 to 100; 0 is 1.",
        proof: "crates/domain/src/job/tests.rs::wrong_values_are_all_told_at_once",
    },
    Row {
        field: "learningRate",
        behaviour: "Above 0, at most 0.1; 0 follows the base's size, the rank and the number of steps (`docs/adr/005-learning-rate.md`).",
        proof: "crates/domain/src/job/tests.rs::learning_rate_follows_weights_rank_and_steps",
    },
    Row {
        field: "maxContextLength",
        behaviour: "16 to the base's own length, in tokens; 0 is the base's, or `batchSize` if that is less. Longer rows are left out, counted and listed, never cut.",
        proof: "crates/train/tests/train/rows.rs::rows_that_are_too_long_are_dropped_and_their_lines_told",
    },
    Row {
        field: "loraRank",
        behaviour: "1 to 32; 0 is 8. The adapter is scaled by 2.",
        proof: "crates/domain/src/job/tests.rs::every_default_is_filled_in",
    },
    Row {
        field: "baseModelWeightPrecision",
        behaviour: "Refused: the base is trained on as it is stored.",
        proof: "crates/server/src/gateway/job/request.rs::fields_not_acted_on_are_named",
    },
    Row {
        field: "wandbConfig",
        behaviour: "Metrics, configuration, system figures and the end of the job go to a W&B service, which may be away: the job does not notice, and what was missed is sent later.",
        proof: "conformance/weights_and_biases.py",
    },
    Row {
        field: "wandbConfig.enabled",
        behaviour: "Sent alone as false it switches off; without it, a key and a project mean that it is wanted.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/wandb.rs::key_and_project_are_enough",
    },
    Row {
        field: "wandbConfig.apiKey",
        behaviour: "Sealed in the store while it is needed, never sent back.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/wandb.rs::key_and_project_are_enough",
    },
    Row {
        field: "wandbConfig.project",
        behaviour: "Required with a key.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/wandb.rs::what_is_missing_or_cannot_be_is_named",
    },
    Row {
        field: "wandbConfig.entity",
        behaviour: "Whose project; by default the key's.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/wandb.rs::key_and_project_are_enough",
    },
    Row {
        field: "wandbConfig.runId",
        behaviour: "Id of the run there; by default one that the server makes.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/wandb.rs::key_and_project_are_enough",
    },
    Row {
        field: "wandbConfig.url",
        behaviour: "Where the run is shown, from when the service has said it.",
        proof: "conformance/weights_and_biases.py",
    },
    Row {
        field: "evaluationDataset",
        behaviour: "A name or a bare id, with the rules of `dataset`. Its rows are scored after each epoch and never trained on.",
        proof: "crates/train/tests/train/rows.rs::evaluation_rows_are_checked_and_dropped_too",
    },
    Row {
        field: "acceleratorType",
        behaviour: "This server has no accelerators: FAILED_PRECONDITION.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/placement.rs::what_is_not_here_is_refused_with_what_is",
    },
    Row {
        field: "acceleratorCount",
        behaviour: "This server has no accelerators: FAILED_PRECONDITION above 0.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/placement.rs::what_is_not_here_is_refused_with_what_is",
    },
    Row {
        field: "isTurbo",
        behaviour: "Products with the base's weights in 8-bit integers; the job fails where the processor lacks the instructions.",
        proof: "crates/train/tests/train/learning.rs::integers_are_used_or_refused",
    },
    Row {
        field: "evalAutoCarveout",
        behaviour: "A tenth of the rows, 100 at most and one at least, chosen by the job's seed, is scored and never trained on. An `evaluationDataset` wins.",
        proof: "crates/train/tests/train/evaluation.rs::rows_that_are_set_aside_are_scored_and_never_trained_on",
    },
    Row {
        field: "region",
        behaviour: "One that the operator has configured, else FAILED_PRECONDITION that lists them; by default the first.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/placement.rs::resolved_values_come_back",
    },
    Row {
        field: "updateTime",
        behaviour: "When it changed last.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/get.rs::urls_follow_the_run",
    },
    Row {
        field: "nodes",
        behaviour: "0 or 1; more is UNIMPLEMENTED.",
        proof: "crates/domain/src/job/tests.rs::places_are_those_of_this_installation",
    },
    Row {
        field: "batchSize",
        behaviour: "Most tokens of a packed batch. One of it and `batchSizeSamples`.",
        proof: "crates/train/tests/train/learning.rs::token_batches_hold_as_many_tokens_as_they_may",
    },
    Row {
        field: "mtpEnabled",
        behaviour: "Refused: heads that predict several tokens are not trained yet.",
        proof: "crates/domain/src/job/tests.rs::draft_tokens_are_checked_before_they_are_refused",
    },
    Row {
        field: "mtpNumDraftTokens",
        behaviour: "Refused: as `mtpEnabled`; what is not 1 to 3, or stands without it, is INVALID_ARGUMENT first.",
        proof: "crates/domain/src/job/tests.rs::draft_tokens_are_checked_before_they_are_refused",
    },
    Row {
        field: "mtpFreezeBaseModel",
        behaviour: "Refused: as `mtpEnabled`; without it INVALID_ARGUMENT first.",
        proof: "crates/domain/src/job/tests.rs::draft_tokens_are_checked_before_they_are_refused",
    },
    Row {
        field: "jobProgress",
        behaviour: "How far it is; no number in it ever goes back.",
        proof: "crates/server/src/jobs/tests.rs::a_job_tells_of_its_rows_and_its_progress_never_goes_back",
    },
    Row {
        field: "jobProgress.percent",
        behaviour: "Share of the optimiser steps that are done, 0 to 100.",
        proof: "crates/server/src/jobs/tests.rs::a_job_tells_of_its_rows_and_its_progress_never_goes_back",
    },
    Row {
        field: "jobProgress.epoch",
        behaviour: "Whole epochs that are done.",
        proof: "crates/server/src/jobs/tests.rs::a_job_tells_of_its_rows_and_its_progress_never_goes_back",
    },
    Row {
        field: "jobProgress.chunk",
        behaviour: "Always 0: training has no chunks.",
        proof: "crates/server/src/jobs/tests.rs::a_job_tells_of_its_rows_and_its_progress_never_goes_back",
    },
    Row {
        field: "jobProgress.totalInputRequests",
        behaviour: "Rows of the dataset.",
        proof: "crates/server/src/jobs/tests.rs::a_job_tells_of_its_rows_and_its_progress_never_goes_back",
    },
    Row {
        field: "jobProgress.totalProcessedRequests",
        behaviour: "Rows gone through, each once for every epoch.",
        proof: "crates/server/src/jobs/tests.rs::a_job_tells_of_its_rows_and_its_progress_never_goes_back",
    },
    Row {
        field: "jobProgress.successfullyProcessedRequests",
        behaviour: "The same number: a row either trains or fails the job before the first step.",
        proof: "crates/server/src/jobs/tests.rs::a_job_tells_of_its_rows_and_its_progress_never_goes_back",
    },
    Row {
        field: "jobProgress.failedRequests",
        behaviour: "Always 0, for the same reason.",
        proof: "crates/server/src/jobs/tests.rs::a_job_tells_of_its_rows_and_its_progress_never_goes_back",
    },
    Row {
        field: "jobProgress.outputRows",
        behaviour: "Always 0: training writes no rows.",
        proof: "crates/server/src/jobs/tests.rs::a_job_tells_of_its_rows_and_its_progress_never_goes_back",
    },
    Row {
        field: "jobProgress.inputTokens",
        behaviour: "Tokens gone through.",
        proof: "crates/server/src/jobs/tests.rs::a_job_tells_of_its_rows_and_its_progress_never_goes_back",
    },
    Row {
        field: "jobProgress.outputTokens",
        behaviour: "Always 0: training generates none.",
        proof: "crates/server/src/jobs/tests.rs::a_job_tells_of_its_rows_and_its_progress_never_goes_back",
    },
    Row {
        field: "jobProgress.cachedInputTokenCount",
        behaviour: "Always 0: training has no cache.",
        proof: "crates/server/src/jobs/tests.rs::a_job_tells_of_its_rows_and_its_progress_never_goes_back",
    },
    Row {
        field: "customImageTag",
        behaviour: "Refused: there are no images.",
        proof: "crates/server/src/gateway/job/request.rs::fields_not_acted_on_are_named",
    },
    Row {
        field: "precision",
        behaviour: "Refused: `isTurbo` chooses the numbers.",
        proof: "crates/server/src/gateway/job/request.rs::fields_not_acted_on_are_named",
    },
    Row {
        field: "extraArgs",
        behaviour: "Refused: the trainer takes none.",
        proof: "crates/server/src/gateway/job/request.rs::fields_not_acted_on_are_named",
    },
    Row {
        field: "metricsFileSignedUrl",
        behaviour: "URL of the metrics so far, one JSON object a line; signed anew at each reading.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/get.rs::urls_follow_the_run",
    },
    Row {
        field: "awsS3Config",
        behaviour: "Opens the rows of a dataset with an `s3://` URL for the process that fetches them, and for nothing else. Without it the bucket must be public.",
        proof: "conformance/datasets_s3.py",
    },
    Row {
        field: "awsS3Config.credentialsSecret",
        behaviour: "A secret with `aws_access_key_id` and `aws_secret_access_key`.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/storage.rs::what_cannot_open_them_is_refused",
    },
    Row {
        field: "awsS3Config.iamRoleArn",
        behaviour: "A role that the server takes by AssumeRoleWithWebIdentity; FAILED_PRECONDITION where the operator has set up none.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/storage.rs::what_opens_the_rows_is_shown_by_name",
    },
    Row {
        field: "azureBlobStorageConfig",
        behaviour: "The same for Azure Blob Storage.",
        proof: "conformance/datasets_azure.py",
    },
    Row {
        field: "azureBlobStorageConfig.credentialsSecret",
        behaviour: "A secret with a `connection_string`, `sas_token` or `account_key`.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/storage.rs::what_cannot_open_them_is_refused",
    },
    Row {
        field: "azureBlobStorageConfig.managedIdentityClientId",
        behaviour: "An identity that the server takes by workload identity federation; with `tenantId`.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/storage.rs::what_opens_the_rows_is_shown_by_name",
    },
    Row {
        field: "azureBlobStorageConfig.tenantId",
        behaviour: "Its tenant.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/storage.rs::what_cannot_open_them_is_refused",
    },
    Row {
        field: "trainerLogsSignedUrl",
        behaviour: "URL of what the trainer printed so far.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/get.rs::urls_follow_the_run",
    },
    Row {
        field: "gradientAccumulationSteps",
        behaviour: "Batches of one optimiser step, 1 to 1024; the loss is divided once by the whole step's trained tokens.",
        proof: "crates/train/tests/train/learning.rs::splits_into_micro_batches_and_accumulation_agree",
    },
    Row {
        field: "learningRateWarmupSteps",
        behaviour: "Steps of linear warm-up; 0 is none.",
        proof: "crates/train/tests/train/learning.rs::a_run_learns_reports_and_writes_everything",
    },
    Row {
        field: "batchSizeSamples",
        behaviour: "Samples of a batch, 1 to 1024; 8 if neither it nor `batchSize` is given.",
        proof: "crates/domain/src/job/tests.rs::context_and_batch_fit_each_other",
    },
    Row {
        field: "estimatedCost",
        behaviour: "Tokens of all epochs times the operator's price for bases of that size, from when the rows have been counted.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/estimate_cost.rs::a_job_says_what_it_will_cost_before_it_runs",
    },
    Row {
        field: "optimizerWeightDecay",
        behaviour: "Decoupled weight decay of AdamW, at most 1; 0 is 0.01.",
        proof: "crates/domain/src/job/tests.rs::every_default_is_filled_in",
    },
    Row {
        field: "purpose",
        behaviour: "PURPOSE_PILOT: a pilot job goes before others of its age, a few at once.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/placement.rs::resolved_values_come_back",
    },
    Row {
        field: "usePurpose",
        behaviour: "`pilot` is the same.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/placement.rs::resolved_values_come_back",
    },
    Row {
        field: "lrScheduler",
        behaviour: "`constant`, `linear` or `cosine` after the warm-up; `docs/API-DESIGN.md` has the formulas.",
        proof: "crates/train/tests/train/early.rs::the_rate_of_each_step_is_that_of_the_schedule",
    },
    Row {
        field: "rendererHuggingFaceRepoId",
        behaviour: "Refused: the template is the base's own, or `jinjaTemplate`.",
        proof: "crates/server/src/gateway/job/request.rs::fields_not_acted_on_are_named",
    },
    Row {
        field: "samplerCheckpointSaveIntervalSteps",
        behaviour: "Checkpoints of so many steps stay, 100 at most: they can be listed, promoted and chatted with.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/checkpoint_chat.rs::a_checkpoint_that_stays_answers_while_the_job_is_there",
    },
    Row {
        field: "useReservation",
        behaviour: "Reserved capacity of the account is used first, then what all share.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/placement.rs::resolved_values_come_back",
    },
    Row {
        field: "reservationTarget",
        behaviour: "Which reservation; an unknown one is FAILED_PRECONDITION that lists the known.",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/placement.rs::what_is_not_here_is_refused_with_what_is",
    },
    Row {
        field: "thinkingTraceHistoryMode",
        behaviour: "Refused: rows with thinking traces are rendered as their template renders them.",
        proof: "crates/server/src/gateway/job/request.rs::fields_not_acted_on_are_named",
    },
    Row {
        field: "resourceEstimate",
        behaviour: "Intervals for time and memory, from when the rows have been counted (`bench/record` has them beside what came).",
        proof: "crates/server/tests/routes/supervised_fine_tuning_job/estimate_cost.rs::a_job_says_what_it_will_cost_before_it_runs",
    },
];
