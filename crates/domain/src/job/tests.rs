//! Requests in, settings or violations out.

use super::*;
use crate::dataset::{Dataset, DatasetFile, DatasetFormat, DatasetState};
use crate::id::{AccountId, DatasetId, DatasetRef, JobId, ModelId, ModelRef};
use crate::record::{Model, ModelAbout, ModelKind};

fn ready(id: &str) -> Dataset {
    let name = DatasetRef { account: AccountId::new("acme").unwrap(), id: DatasetId::new(id).unwrap() };
    Dataset {
        state: DatasetState::Ready,
        format: DatasetFormat::Chat,
        example_count: 300,
        ..Dataset::new(name, "", 0)
    }
}

fn facts() -> JobFacts {
    let base = Model {
        account: AccountId::new("fireworks").unwrap(),
        id: ModelId::new("tiny").unwrap(),
        display_name: String::new(),
        about: ModelAbout::default(),
        upload: None,
        kind: ModelKind::Base { parameter_count: 135_000_000 },
        context_length: 2048,
        model_type: "llama".into(),
        imported_from: String::new(),
        created_by: String::new(),
        create_time_ms: 0,
        update_time_ms: 0,
    };
    JobFacts {
        account: AccountId::new("acme").unwrap(),
        job: JobId::new("j1").unwrap(),
        dataset: Some(ready("rows")),
        evaluation_dataset: None,
        base_model: Some(base),
        warm_start: None,
        placement: PlacementFacts::default(),
        storage: StorageFacts::default(),
    }
}

fn request() -> JobRequest {
    JobRequest {
        dataset: "rows".into(),
        base_model: "accounts/fireworks/models/tiny".into(),
        ..Default::default()
    }
}

fn refused(change: impl FnOnce(&mut JobRequest), expect: &str) {
    let mut request = request();
    change(&mut request);
    let error = resolve(&request, &facts()).expect_err(expect);
    assert_eq!(format!("{} {error}", error.code().name()), expect);
}

#[test]
fn every_default_is_filled_in() {
    let got = resolve(&request(), &facts()).unwrap();
    let model = |name: &str| -> ModelRef {
        let parts: Vec<&str> = name.split('/').collect();
        ModelRef { account: AccountId::new(parts[1]).unwrap(), id: ModelId::new(parts[3]).unwrap() }
    };
    assert_eq!(
        got,
        JobSettings {
            display_name: String::new(),
            dataset: ready("rows").name(),
            evaluation_dataset: None,
            eval_auto_carveout: false,
            early_stop: false,
            base_model: model("accounts/fireworks/models/tiny"),
            warm_start_from: None,
            output_model: model("accounts/acme/models/j1"),
            jinja_template: None,
            thinking_history: ThinkingHistory::OfTheTemplate,
            epochs: 1,
            learning_rate: 3.7e-3,
            learning_rate_warmup_steps: 0,
            lr_scheduler: LrScheduler::Constant,
            optimizer_weight_decay: 0.01,
            lora_rank: 8,
            lora_alpha: 16.0,
            target_modules: vec![],
            max_context_length: 2048,
            batch_size: 0,
            batch_size_samples: 8,
            gradient_accumulation_steps: 1,
            sampler_checkpoint_save_interval_steps: 0,
            is_turbo: false,
            placement: Placement::default(),
            aws_s3_config: None,
            azure_blob_storage_config: None,
            wandb: None,
        }
    );
}

#[test]
fn context_and_batch_fit_each_other() {
    let check = |context, tokens, samples, expect| {
        let request = JobRequest {
            max_context_length: context,
            batch_size: tokens,
            batch_size_samples: samples,
            ..request()
        };
        let got = resolve(&request, &facts()).unwrap();
        assert_eq!((got.max_context_length, got.batch_size, got.batch_size_samples), expect);
    };
    check(0, 0, 0, (2048, 0, 8));
    check(512, 0, 0, (512, 0, 8));
    check(512, 512, 0, (512, 512, 0));
    check(0, 512, 0, (512, 512, 0));
    check(0, 4096, 0, (2048, 4096, 0));
    check(0, 0, 32, (2048, 0, 32));
}

#[test]
fn learning_rate_follows_weights_rank_and_steps() {
    let check =
        |weights, rank, steps, expect| assert_eq!(learning_rate_default(weights, rank, steps), expect);
    check(135_000_000, 8, 45, 3.5e-3);
    check(135_000_000, 16, 45, 2.5e-3);
    check(135_000_000, 8, 1000, 1.2e-3);
    check(8_000_000_000, 8, 45, 4.5e-4);
    check(8_000_000_000, 8, 1000, 1.6e-4);
    // Outside of what was measured.
    check(135_000_000, 8, 15, 5.0e-3);
    check(0, 0, 0, 5.0e-3);
    check(135_000_000, 8, u64::MAX, 1.2e-3);
    assert!(learning_rate_default(u64::MAX, u32::MAX, u64::MAX) > 0.0);
}

#[test]
fn steps_of_the_default_rate_are_the_jobs() {
    let check = |change: fn(&mut JobRequest), bytes, expect| {
        let (mut request, mut facts) = (request(), facts());
        change(&mut request);
        let file = DatasetFile::announced("rows.jsonl", bytes);
        facts.dataset.as_mut().unwrap().files = vec![file];
        assert_eq!(resolve(&request, &facts).unwrap().learning_rate, expect);
    };
    let rate = |steps| learning_rate_default(135_000_000, 8, steps);
    check(|r| r.epochs = 3, 0, rate(3 * 38));
    check(|r| (r.epochs, r.gradient_accumulation_steps) = (3, 2), 0, rate(3 * 19));
    check(|r| r.batch_size_samples = 4, 0, rate(75));
    // Four bytes a token: 100 batches of 1000 tokens.
    check(|r| (r.max_context_length, r.batch_size) = (512, 1000), 400_000, rate(100));
    check(|r| r.learning_rate = 7e-5, 0, 7e-5);
    // Of 300 rows 30 are set aside.
    check(|r| r.eval_auto_carveout = true, 0, rate(34));
}

#[test]
fn steps_of_rows_that_lie_elsewhere_are_not_known() {
    let check = |change: fn(&mut JobRequest), rows, steps| {
        let mut request = JobRequest { sampler_checkpoint_save_interval_steps: 1, ..request() };
        change(&mut request);
        let dataset = Dataset {
            external_url: "s3://b/x.jsonl".into(),
            example_count: rows,
            ..facts().dataset.unwrap()
        };
        let facts = JobFacts { dataset: Some(dataset), ..facts() };
        let got = resolve(&request, &facts).unwrap();
        assert_eq!(got.learning_rate, learning_rate_default(135_000_000, 8, steps));
    };
    check(|_| {}, 0, 1000);
    check(|r| r.batch_size = 2048, 0, 1000);
    // A size that is said says nothing of tokens.
    check(|r| r.batch_size = 2048, 300, 1000);
    check(|_| {}, 300, 38);
    check(|r| r.learning_rate_warmup_steps = 1_000_000, 0, 1000);
}

#[test]
fn rows_that_are_set_aside_make_no_steps() {
    let check = |rows, interval, expect: Option<&str>| {
        let request = JobRequest {
            batch_size_samples: 1,
            eval_auto_carveout: true,
            sampler_checkpoint_save_interval_steps: interval,
            ..request()
        };
        let dataset = Dataset { example_count: rows, ..facts().dataset.unwrap() };
        let facts = JobFacts { dataset: Some(dataset), ..facts() };
        let found = resolve(&request, &facts).err().map(|found| found.to_string());
        assert_eq!(found.as_deref(), expect);
    };
    check(1000, 9, None);
    check(
        1000,
        8,
        Some(
            "samplerCheckpointSaveIntervalSteps: 8 would keep 112 checkpoints of 900 steps, and 100 are kept at most; set \
             it to 9 or more",
        ),
    );
    // One of two, and none of a single one.
    check(2, 1, None);
    check(1, 1, None);
    check(
        u64::MAX,
        i32::MAX,
        Some(
            "samplerCheckpointSaveIntervalSteps: 2147483647 would keep 8589934595 checkpoints of 18446744073709551515 \
         steps, and 100 are kept at most; set it to 184467440737095516 or more",
        ),
    );
}

#[test]
fn output_model_is_an_id_or_a_name_of_the_account() {
    let check = |text: &str, expect: &str| {
        let got = resolve(&JobRequest { output_model: text.into(), ..request() }, &facts()).unwrap();
        assert_eq!(got.output_model.to_string(), expect);
    };
    check("mine", "accounts/acme/models/mine");
    check("accounts/acme/models/mine", "accounts/acme/models/mine");
    check("accounts/acme/models/", "accounts/acme/models/j1");
    refused(
        |r| r.output_model = "accounts/other/models/mine".into(),
        "INVALID_ARGUMENT outputModel: \"accounts/other/models/mine\" is neither a model id nor a name that begins \
         with accounts/acme/models/",
    );
    refused(
        |r| r.output_model = "9lives".into(),
        "INVALID_ARGUMENT outputModel: model id \"9lives\" begins with a digit",
    );
}

#[test]
fn wrong_values_are_all_told_at_once() {
    refused(
        |r| (r.epochs, r.learning_rate, r.lora_rank) = (101, f32::NAN, 33),
        "INVALID_ARGUMENT epochs: 101 is not between 0 and 100 (0 is the default); learningRate: NaN is not between \
         0 and 0.1 (0 is the default); loraRank: 33 is not between 0 and 32 (0 is the default)",
    );
    refused(
        |r| r.max_context_length = 4096,
        "INVALID_ARGUMENT maxContextLength: 4096 is not between 16 and 2048, the model's (0 is the default)",
    );
    refused(
        |r| (r.max_context_length, r.batch_size) = (1024, 512),
        "INVALID_ARGUMENT batchSize: 512 tokens are less than 1024, the tokens of one sample (maxContextLength)",
    );
    refused(
        |r| r.learning_rate_warmup_steps = 38,
        "INVALID_ARGUMENT learningRateWarmupSteps: 38 steps of warm-up are not less than the 38 of the whole training",
    );
    refused(
        |r| (r.learning_rate_warmup_steps, r.epochs) = (-1, 2),
        "INVALID_ARGUMENT learningRateWarmupSteps: -1 is not between 0 and 1000000 (0 is the default)",
    );
    refused(
        |r| (r.dataset, r.epochs) = (String::new(), -1),
        "INVALID_ARGUMENT dataset: is required; epochs: -1 is not between 0 and 100 (0 is the default)",
    );
}

#[test]
fn wrong_comes_before_not_built() {
    refused(
        |r| {
            r.other_fields = vec!["extraArgs".into()];
            r.epochs = 200;
        },
        "INVALID_ARGUMENT epochs: 200 is not between 0 and 100 (0 is the default); extraArgs: this server does not \
         support this field yet; leave it out",
    );
    refused(|r| r.placement.nodes = 2, "UNIMPLEMENTED nodes: this server trains on one node");
    refused(
        |r| r.base_model = String::new(),
        "INVALID_ARGUMENT baseModel: exactly one of baseModel and warmStartFrom must be given, and neither is",
    );
}

#[test]
fn facts_decide() {
    let check = |change: fn(&mut JobFacts), expect: &str| {
        let mut facts = facts();
        change(&mut facts);
        let error = resolve(&request(), &facts).expect_err(expect);
        assert_eq!(format!("{} {error}", error.code().name()), expect);
    };
    check(|f| f.dataset = None, "FAILED_PRECONDITION dataset: dataset rows does not exist or was deleted");
    check(
        |f| f.dataset.as_mut().unwrap().state = DatasetState::Uploading,
        "FAILED_PRECONDITION dataset: dataset rows is not READY; upload its files and call validateUpload first",
    );
    check(|f| f.base_model = None, "NOT_FOUND baseModel: there is no model accounts/fireworks/models/tiny");
    refused(
        |r| r.evaluation_dataset = "gone".into(),
        "FAILED_PRECONDITION evaluationDataset: dataset gone does not exist or was deleted",
    );
}

#[test]
fn draft_tokens_are_checked_before_they_are_refused() {
    let check = |enabled, tokens, freeze, expect: &[(&str, Code)]| {
        let request = JobRequest {
            mtp_enabled: enabled,
            mtp_num_draft_tokens: tokens,
            mtp_freeze_base_model: freeze,
            other_fields: vec!["mtpEnabled".to_owned()],
            ..request()
        };
        let found = resolve(&request, &facts()).unwrap_err();
        let found: Vec<_> = found.list().iter().map(|one| (one.field.as_str(), one.code)).collect();
        assert_eq!(found, expect);
    };
    let refused = ("mtpEnabled", Code::Unimplemented);
    check(true, 3, true, &[refused]);
    for tokens in [-1, 4] {
        check(true, tokens, false, &[("mtpNumDraftTokens", Code::InvalidArgument), refused]);
    }
    check(false, 1, false, &[("mtpNumDraftTokens", Code::InvalidArgument), refused]);
    check(false, 0, true, &[("mtpFreezeBaseModel", Code::InvalidArgument), refused]);
}

#[test]
fn places_are_those_of_this_installation() {
    let check = |has: (&[&str], &[&str]), change: fn(&mut PlacementRequest), expect: &str| {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let (mut request, mut facts) = (request(), facts());
        facts.placement = PlacementFacts { regions: texts(has.0), reservations: texts(has.1) };
        change(&mut request.placement);
        let got = match resolve(&request, &facts) {
            Ok(JobSettings { placement: Placement { region, is_pilot, reservation }, .. }) => {
                format!("{region:?} {is_pilot} {reservation:?}")
            }
            Err(error) => format!("{} {error}", error.code().name()),
        };
        assert_eq!(got, expect);
    };
    let none = (&[][..], &[][..]);
    let some = (&["US_IOWA_1", "EU_PARIS_1"][..], &["day", "night"][..]);
    check(none, |_| {}, r#""" false None"#);
    check(none, |r| r.nodes = 1, r#""" false None"#);
    check(none, |r| r.nodes = -1, "INVALID_ARGUMENT nodes: -1 is below 0");
    check(some, |_| {}, r#""US_IOWA_1" false None"#);
    check(some, |r| r.region = "EU_PARIS_1".into(), r#""EU_PARIS_1" false None"#);
    check(
        some,
        |r| r.region = "AP_TOKYO_1".into(),
        "FAILED_PRECONDITION region: this installation has no region AP_TOKYO_1; it has US_IOWA_1, EU_PARIS_1",
    );
    check(
        none,
        |r| r.region = "US_IOWA_1".into(),
        "FAILED_PRECONDITION region: this installation has no region US_IOWA_1; it has none: leave the field out",
    );
    check(
        none,
        |r| (r.accelerator_type, r.accelerator_count) = ("NVIDIA_H100_80GB".into(), 2),
        "FAILED_PRECONDITION acceleratorType: this server has no accelerators, it trains on CPUs; leave the field \
         out; acceleratorCount: this server has no accelerators, it trains on CPUs; leave the field out",
    );
    check(none, |r| r.accelerator_count = -1, "INVALID_ARGUMENT acceleratorCount: -1 is below 0");
    check(none, |r| r.is_pilot = true, r#""" true None"#);
    check(none, |r| r.use_purpose = "pilot".into(), r#""" true None"#);
    check(
        none,
        |r| r.use_purpose = "fun".into(),
        r#"INVALID_ARGUMENT usePurpose: there is no purpose "fun"; there is "pilot""#,
    );
    check(some, |r| r.use_reservation = true, r#""US_IOWA_1" false Some("day")"#);
    check(some, |r| r.reservation_target = "night".into(), r#""US_IOWA_1" false Some("night")"#);
    check(
        some,
        |r| r.reservation_target = "accounts/acme/reservations/night".into(),
        r#""US_IOWA_1" false Some("night")"#,
    );
    check(
        some,
        |r| r.reservation_target = "noon".into(),
        "FAILED_PRECONDITION reservationTarget: there is no reservation noon: account acme has day, night",
    );
    check(
        none,
        |r| r.use_reservation = true,
        "FAILED_PRECONDITION useReservation: there is no reservation to use: account acme has none; the operator makes \
         them (hearth serve --reservation)",
    );
}

fn adapter(r: u32) -> WarmStart {
    let base = facts().base_model.unwrap();
    let kind = ModelKind::Adapter {
        base_model: base.name(),
        r,
        target_modules: vec!["q_proj".into()],
        fine_tuning_job: String::new(),
    };
    let model = Model { id: ModelId::new("tuned").unwrap(), kind, ..base.clone() };
    let settings = AdapterSettings { r, alpha: 5.5, target_modules: vec!["q_proj".into()] };
    WarmStart { model, base: Some(base), settings: Ok(settings) }
}

#[test]
fn an_adapter_to_go_on_from_decides_base_rank_alpha_and_layers() {
    let request = JobRequest { base_model: String::new(), warm_start_from: "tuned".into(), ..request() };
    let facts = JobFacts { base_model: None, warm_start: Some(adapter(64)), ..facts() };
    let got = resolve(&request, &facts).unwrap();
    assert_eq!(got.base_model.to_string(), "accounts/fireworks/models/tiny");
    assert_eq!(got.warm_start_from.unwrap().to_string(), "accounts/fireworks/models/tuned");
    // Higher than what a job may ask for: the adapter has it.
    assert_eq!((got.lora_rank, got.lora_alpha, got.target_modules), (64, 5.5, vec!["q_proj".to_owned()]));
    let same = JobRequest { lora_rank: 64, ..request.clone() };
    assert!(resolve(&same, &facts).is_ok());
    let check = |change: fn(&mut WarmStart), expect: &str| {
        let mut warm_start = adapter(8);
        change(&mut warm_start);
        let facts = JobFacts { warm_start: Some(warm_start), ..facts.clone() };
        let error = resolve(&request, &facts).expect_err(expect);
        assert_eq!(format!("{} {error}", error.code().name()), expect);
    };
    check(
        |found| found.base = None,
        "FAILED_PRECONDITION warmStartFrom: the base of adapter tuned, accounts/fireworks/models/tiny, is not installed \
         any more",
    );
    check(
        |found| found.settings = Err("why".to_owned()),
        "INVALID_ARGUMENT warmStartFrom: training cannot go on from adapter tuned: why",
    );
}
