//! Facts of the hosted service's document about `CreateSupervisedFineTuningJob`, to compare ours with.

/// Its path.
pub(super) const PATH: &str = "/v1/accounts/{account_id}/supervisedFineTuningJobs";
/// Its operation id.
pub(super) const OPERATION_ID: &str = "Gateway_CreateSupervisedFineTuningJob";
/// Its parameters: name, place, whether it is required.
pub(super) const PARAMETERS: &[(&str, &str, bool)] =
    &[("supervisedFineTuningJobId", "query", false), ("account_id", "path", true)];
/// The component of body and reply.
pub(super) const JOB: &str = "gatewaySupervisedFineTuningJob";
/// Fields that a request must have.
pub(super) const REQUIRED: &[&str] = &["dataset"];

/// Component, field, type and format or component, whether it is read only.
#[rustfmt::skip]
pub(super) const FIELDS: &[(&str, &str, &str, bool)] = &[
    ("gatewaySupervisedFineTuningJob", "name", "string", true),
    ("gatewaySupervisedFineTuningJob", "displayName", "string", false),
    ("gatewaySupervisedFineTuningJob", "createTime", "string date-time", true),
    ("gatewaySupervisedFineTuningJob", "completedTime", "string date-time", true),
    ("gatewaySupervisedFineTuningJob", "dataset", "string", false),
    ("gatewaySupervisedFineTuningJob", "awsS3Config", "gatewayAwsS3Config", false),
    ("gatewaySupervisedFineTuningJob", "state", "gatewayJobState", true),
    ("gatewaySupervisedFineTuningJob", "status", "gatewayStatus", true),
    ("gatewaySupervisedFineTuningJob", "createdBy", "string", true),
    ("gatewaySupervisedFineTuningJob", "outputModel", "string", false),
    ("gatewaySupervisedFineTuningJob", "baseModel", "string", false),
    ("gatewaySupervisedFineTuningJob", "warmStartFrom", "string", false),
    ("gatewaySupervisedFineTuningJob", "jinjaTemplate", "string", false),
    ("gatewaySupervisedFineTuningJob", "earlyStop", "boolean", false),
    ("gatewaySupervisedFineTuningJob", "epochs", "integer int32", false),
    ("gatewaySupervisedFineTuningJob", "learningRate", "number float", false),
    ("gatewaySupervisedFineTuningJob", "maxContextLength", "integer int32", false),
    ("gatewaySupervisedFineTuningJob", "loraRank", "integer int32", false),
    ("gatewaySupervisedFineTuningJob", "wandbConfig", "gatewayWandbConfig", false),
    ("gatewaySupervisedFineTuningJob", "evaluationDataset", "string", false),
    ("gatewaySupervisedFineTuningJob", "isTurbo", "boolean", false),
    ("gatewaySupervisedFineTuningJob", "evalAutoCarveout", "boolean", false),
    ("gatewaySupervisedFineTuningJob", "region", "gatewayRegion", false),
    ("gatewaySupervisedFineTuningJob", "updateTime", "string date-time", true),
    ("gatewaySupervisedFineTuningJob", "nodes", "integer int32", false),
    ("gatewaySupervisedFineTuningJob", "batchSize", "integer int32", false),
    ("gatewaySupervisedFineTuningJob", "mtpEnabled", "boolean", false),
    ("gatewaySupervisedFineTuningJob", "mtpNumDraftTokens", "integer int32", false),
    ("gatewaySupervisedFineTuningJob", "mtpFreezeBaseModel", "boolean", false),
    ("gatewaySupervisedFineTuningJob", "metricsFileSignedUrl", "string", false),
    ("gatewaySupervisedFineTuningJob", "trainerLogsSignedUrl", "string", true),
    ("gatewaySupervisedFineTuningJob", "gradientAccumulationSteps", "integer int32", false),
    ("gatewaySupervisedFineTuningJob", "learningRateWarmupSteps", "integer int32", false),
    ("gatewaySupervisedFineTuningJob", "batchSizeSamples", "integer int32", false),
    ("gatewaySupervisedFineTuningJob", "estimatedCost", "typeMoney", true),
    ("gatewaySupervisedFineTuningJob", "optimizerWeightDecay", "number float", false),
    ("gatewayAwsS3Config", "credentialsSecret", "string", false),
    ("gatewayAwsS3Config", "iamRoleArn", "string", false),
    ("gatewayStatus", "code", "gatewayCode", false),
    ("gatewayStatus", "message", "string", false),
    ("gatewayWandbConfig", "enabled", "boolean", false),
    ("gatewayWandbConfig", "apiKey", "string", false),
    ("gatewayWandbConfig", "project", "string", false),
    ("gatewayWandbConfig", "entity", "string", false),
    ("gatewayWandbConfig", "runId", "string", false),
    ("gatewayWandbConfig", "url", "string", true),
    ("typeMoney", "currencyCode", "string", false),
    ("typeMoney", "units", "string int64", false),
    ("typeMoney", "nanos", "integer int32", false),
];

/// Values of enums, the default first.
pub(super) const VALUES: &[(&str, &str)] = &[
    (
        "gatewayJobState",
        "JOB_STATE_UNSPECIFIED JOB_STATE_CREATING JOB_STATE_RUNNING JOB_STATE_COMPLETED \
         JOB_STATE_FAILED JOB_STATE_CANCELLED JOB_STATE_DELETING JOB_STATE_WRITING_RESULTS \
         JOB_STATE_VALIDATING JOB_STATE_DELETING_CLEANING_UP JOB_STATE_PENDING JOB_STATE_EXPIRED \
         JOB_STATE_RE_QUEUEING JOB_STATE_CREATING_INPUT_DATASET JOB_STATE_IDLE JOB_STATE_CANCELLING \
         JOB_STATE_EARLY_STOPPED JOB_STATE_PAUSED",
    ),
    (
        "gatewayRegion",
        "REGION_UNSPECIFIED US_IOWA_1 US_VIRGINIA_1 US_VIRGINIA_2 US_ILLINOIS_1 AP_TOKYO_1 \
         EU_LONDON_1 US_ARIZONA_1 US_TEXAS_1 US_ILLINOIS_2 EU_FRANKFURT_1 US_TEXAS_2 EU_PARIS_1 \
         EU_HELSINKI_1 US_NEVADA_1 EU_ICELAND_1 EU_ICELAND_2 US_WASHINGTON_1 US_WASHINGTON_2 \
         EU_ICELAND_DEV_1 US_WASHINGTON_3 US_ARIZONA_2 AP_TOKYO_2 US_CALIFORNIA_1 US_MISSOURI_1 \
         US_UTAH_1 US_TEXAS_3 US_ARIZONA_3 US_GEORGIA_1 US_GEORGIA_2 US_WASHINGTON_4 US_GEORGIA_3 \
         NA_BRITISHCOLUMBIA_1 US_GEORGIA_4 EU_ICELAND_3 US_OHIO_1",
    ),
    (
        "gatewayCode",
        "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS \
         PERMISSION_DENIED UNAUTHENTICATED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED \
         OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS",
    ),
];
