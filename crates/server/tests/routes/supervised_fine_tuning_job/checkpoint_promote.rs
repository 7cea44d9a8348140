//! `POST .../supervisedFineTuningJobs/{job}/checkpoints/{checkpoint}:promote`.

use hearth_domain::{AccountId, JobId, ModelId, Operation, OperationId, OperationWork, Promotion};
use hearth_store::Store;
use serde_json::{Value, json};

use super::JOBS;
use super::checkpoints::{RANK, assert_nothing_staged, begin, config, finish, save, server, until};
use crate::openai::BASE;
use crate::server::{Reply, Server};

fn promote(server: &Server, checkpoint: &str, more: Value) -> Reply {
    let mut body = json!({"outputModel": "early"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.post(&format!("{JOBS}/j/checkpoints/{checkpoint}:promote"), &body)
}

fn answer(server: &Server, model: &str) -> String {
    let body = json!({
        "model": model, "messages": [{"role": "user", "content": "hello"}], "temperature": 0, "max_tokens": 8,
    });
    let reply = server.post("/v1/chat/completions", &body).ok();
    reply["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

fn installed(server: &Server, model: &str, file: &str) -> Vec<u8> {
    std::fs::read(server.dir.path().join("models/default").join(model).join(file)).unwrap()
}

#[test]
fn a_checkpoint_becomes_a_model_while_the_job_goes_on() {
    let server = server();
    let run = begin(&server, "j");
    save(&run, 20);
    save(&run, 40);
    let reply = promote(&server, "step-00000020", json!({"baseModel": BASE})).ok();
    assert_eq!(reply.get("operation"), None);
    let model = &reply["model"];
    assert_eq!((&model["name"], &model["state"]), (&json!("accounts/default/models/early"), &json!("READY")));
    assert_eq!((&model["kind"], &model["displayName"]), (&json!("HF_PEFT_ADDON"), &json!("Mine")));
    assert_eq!(model["fineTuningJob"], "accounts/default/supervisedFineTuningJobs/j");
    assert_eq!(
        (&model["peftDetails"]["baseModel"], &model["peftDetails"]["r"]),
        (&json!(BASE), &json!(RANK))
    );
    assert_eq!(model["peftDetails"]["targetModules"].as_array().unwrap().len(), 7);
    assert_eq!(model["createdBy"], "operator@localhost");
    assert_eq!(server.get("/v1/accounts/default/models/early").ok()["createTime"], model["createTime"]);
    assert_nothing_staged(&server);
    let settings: Value =
        serde_json::from_slice(&installed(&server, "early", "adapter_config.json")).unwrap();
    assert_eq!((&settings["r"], &settings["lora_alpha"]), (&json!(8), &json!(16)));
    assert_eq!(settings["base_model_name_or_path"], BASE);

    // Each checkpoint is a model of its own, and none is its base.
    promote(&server, "step-00000040", json!({"outputModel": "accounts/default/models/later"})).ok();
    let answers = [BASE, "accounts/default/models/early", "accounts/default/models/later"]
        .map(|model| answer(&server, model));
    assert!(answers[0] != answers[1] && answers[1] != answers[2] && answers[0] != answers[2], "{answers:?}");

    // A name is taken once; that of the job's own model is taken until it is at its end.
    for taken in ["early", "accounts/default/models/later", "j"] {
        let (status, code, message) =
            promote(&server, "step-00000040", json!({"outputModel": taken})).error();
        assert_eq!((status, code), (409, 6), "{message}");
    }
    // The job does not notice.
    assert_eq!(server.get(&format!("{JOBS}/j")).ok()["state"], "JOB_STATE_RUNNING");
    finish(&server, &run, "j");
    promote(&server, "step-00000040", json!({"outputModel": "after"})).ok();
    assert_eq!(
        installed(&server, "after", "adapter_model.safetensors"),
        installed(&server, "later", "adapter_model.safetensors")
    );
    // The final adapter, byte for byte.
    promote(&server, "final", json!({"outputModel": "twin"})).ok();
    for file in ["adapter_model.safetensors", "adapter_config.json", "tokenizer.json"] {
        assert_eq!(installed(&server, "twin", file), installed(&server, "j", file), "{file}");
    }
    assert_eq!(answer(&server, "accounts/default/models/twin"), answer(&server, "accounts/default/models/j"));
    // They are the account's, and stay when the job goes.
    server.delete(&format!("{JOBS}/j")).ok();
    assert_eq!(answer(&server, "accounts/default/models/later"), answers[2]);
    assert_eq!(promote(&server, "final", json!({"outputModel": "late"})).error().1, 5);
}

#[test]
fn what_is_gone_or_damaged_leaves_nothing() {
    let server = server();
    let run = begin(&server, "j");
    let zero = save(&run, 0);
    let damaged = save(&run, 20);
    let pruned = save(&run, 40);
    std::fs::write(damaged.join("tensors.safetensors"), b"").unwrap();
    // One that is removed in the middle: its directory is there, and a file is not any more.
    std::fs::remove_file(pruned.join("SHA256SUMS")).unwrap();
    let check = |id: &str, more: Value, expect: (u16, i64), part: &str| {
        let (status, code, message) = promote(&server, id, more).error();
        assert_eq!((status, code), expect, "{id}: {message}");
        assert!(message.contains(part), "{message}");
        assert_eq!(server.get("/v1/accounts/default/models/early").error().1, 5);
        assert_nothing_staged(&server);
    };
    check("step-00000020", json!({}), (400, 9), "digests");
    check("step-00000040", json!({}), (404, 5), "there is no checkpoint");
    check("step-00000060", json!({}), (404, 5), "there is no checkpoint");
    check("final", json!({}), (404, 5), "there is no checkpoint");
    check("..", json!({}), (404, 5), "");
    check("step-00000000", json!({}), (400, 9), "before the first step");
    std::fs::remove_dir_all(zero).unwrap();
    check("step-00000000", json!({}), (404, 5), "there is no checkpoint");
    save(&run, 60);
    check("step-00000060", json!({"outputModel": ""}), (400, 3), "outputModel");
    check("step-00000060", json!({"outputModel": "No Id"}), (400, 3), "outputModel");
    check(
        "step-00000060",
        json!({"outputModel": "accounts/other/models/early"}),
        (400, 3),
        "another account",
    );
    check("step-00000060", json!({"baseModel": "accounts/fireworks/models/other"}), (400, 3), "baseModel");
    // Tensors that are not those of this base.
    let state = run.join("job.json");
    let spec = std::fs::read_to_string(&state).unwrap();
    std::fs::write(&state, spec.replace("\"lora_rank\": 8", "\"lora_rank\": 4")).unwrap();
    check("step-00000060", json!({}), (400, 9), "does not fit its base");
    std::fs::write(&state, spec).unwrap();
    promote(&server, "step-00000060", json!({"baseModel": "tiny"})).ok();
}

#[test]
fn an_operation_does_the_same_in_the_background() {
    let server = server();
    let run = begin(&server, "j");
    save(&run, 20);
    let operation =
        promote(&server, "step-00000020", json!({"asyncPromotion": true})).ok()["operation"].clone();
    let name = operation["name"].as_str().unwrap();
    assert!(name.starts_with("accounts/default/operations/"), "{operation}");
    let done = until(&server, &format!("/v1/{name}"), |operation| operation["done"] == true);
    assert_eq!(done["response"]["@type"], "type.googleapis.com/gateway.Model");
    assert_eq!(done["response"]["name"], "accounts/default/models/early");
    assert_eq!(done["response"]["state"], "READY");
    assert_eq!(done["metadata"]["@type"], "type.googleapis.com/gateway.OperationMetadata");
    assert_eq!(done["metadata"]["statusMessage"], "done");
    assert_eq!(done.get("error"), None);
    // What is wrong at once is said at once, and begins nothing.
    let taken = promote(&server, "step-00000020", json!({"asyncPromotion": true}));
    assert_eq!(taken.error().1, 6);

    let damaged = save(&run, 40);
    std::fs::write(damaged.join("state.json"), b"{}").unwrap();
    let more = json!({"outputModel": "broken", "asyncPromotion": true});
    let name = promote(&server, "step-00000040", more).ok()["operation"]["name"].as_str().unwrap().to_owned();
    let done = until(&server, &format!("/v1/{name}"), |operation| operation["done"] == true);
    assert_eq!((&done["error"]["code"], done.get("response")), (&json!(9), None));
    assert!(done["error"]["message"].as_str().unwrap().contains("digests"), "{done}");
    assert_eq!(server.get("/v1/accounts/default/models/broken").error().1, 5);
    assert_eq!(server.get("/v1/accounts/default/operations/none").error().1, 5);
}

#[test]
fn a_server_goes_on_with_what_an_earlier_one_had_begun() {
    let server = server();
    let run = begin(&server, "j");
    save(&run, 20);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = server.stop();
    let operation = |id: &str, checkpoint: &str, end, update_time_ms| Operation {
        account: AccountId::new("default").unwrap(),
        id: OperationId::new(id).unwrap(),
        work: OperationWork::Promote(Promotion {
            job: JobId::new("j").unwrap(),
            job_key: 1,
            checkpoint: checkpoint.to_owned(),
            output_model: ModelId::new(id).unwrap(),
        }),
        end,
        created_by: "a@example.org".to_owned(),
        create_time_ms: 1,
        update_time_ms,
    };
    let failed = hearth_domain::OperationEnd::Failed(hearth_domain::Status::default());
    runtime.block_on(async {
        let store = Store::open(dir.path(), 1).await.unwrap();
        store.create(&operation("left", "step-00000020", None, 1)).await.unwrap();
        store.create(&operation("pruned", "step-00000010", None, 1)).await.unwrap();
        store.create(&operation("old", "step-00000020", Some(failed), 1)).await.unwrap();
        store.close().await;
    });
    let server = Server::start_with(dir, config);
    let path = |id: &str| format!("/v1/accounts/default/operations/{id}");
    let done = until(&server, &path("left"), |operation| operation["done"] == true);
    assert_eq!(done["response"]["name"], "accounts/default/models/left", "{done}");
    assert_eq!(server.get("/v1/accounts/default/models/left").ok()["createdBy"], "a@example.org");
    let done = until(&server, &path("pruned"), |operation| operation["done"] == true);
    assert_eq!(done["error"]["code"], 5, "{done}");
    assert_eq!(server.get(&path("old")).error().1, 5);
    std::fs::write(run_of(&server).join("go"), "").unwrap();
}

/// So that no trainer stays behind.
fn run_of(server: &Server) -> std::path::PathBuf {
    server.dir.path().join("runs/default/j")
}
