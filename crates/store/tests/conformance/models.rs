//! Models and their directories.

use hearth_domain::{Code, JobEvent, JobState, Model, ModelAbout, ModelId, ModelKind};
use hearth_store::installed::{self, InstalledKind, ModelManifest};

use super::{acme, code, job, model_ref, open};

fn manifest(kind: InstalledKind) -> ModelManifest {
    ModelManifest {
        version: ModelManifest::VERSION,
        kind,
        display_name: "Tiny".into(),
        source: "test".into(),
        hub_id: None,
        parameter_count: 42,
        context_length: 128,
        model_type: "llama".into(),
        base_model: None,
        r: 0,
        target_modules: vec![],
        files: Default::default(),
        create_time_ms: 7,
    }
}

#[tokio::test]
async fn installed_models_are_found_by_a_running_server() {
    let (dir, store) = open().await;
    let name = model_ref("fireworks", "tiny");
    let install = || {
        let staged = installed::stage(dir.path()).unwrap();
        std::fs::write(staged.join("config.json"), "{}").unwrap();
        let mut manifest = manifest(InstalledKind::Base);
        manifest.files = installed::digest_files(&staged).unwrap();
        installed::install(dir.path(), &name.account, &name.id, &staged, &manifest)
    };
    assert_eq!(code(store.model_get(&name).await), Code::NotFound);
    let model = install().unwrap();
    assert_eq!(code(install()), Code::AlreadyExists);
    assert_eq!(installed::read(dir.path(), &name.account, &name.id).unwrap(), model);
    assert_eq!(model.manifest.files["config.json"].size_bytes, 2);

    store.model_sync().await.unwrap();
    let row = store.model_get(&name).await.unwrap();
    assert_eq!((row.kind, row.create_time_ms), (ModelKind::Base { parameter_count: 42 }, 7));
    installed::remove(dir.path(), &name.account, &name.id).unwrap();
    store.model_sync().await.unwrap();
    assert_eq!(code(store.model_get(&name).await), Code::NotFound);
    install().unwrap();
    store.model_sync().await.unwrap();
    store.model_delete(&name).await.unwrap();
    assert!(!model.dir.exists());
    assert_eq!(code(store.model_delete(&name).await), Code::NotFound);
}

#[tokio::test]
async fn a_finished_job_and_its_model_appear_together() {
    let (_dir, store) = open().await;
    let key = store.job_create(&job("j1", "m")).await.unwrap().key;
    let output = Model {
        account: acme(),
        id: ModelId::new("m").unwrap(),
        display_name: String::new(),
        about: ModelAbout::default(),
        upload: None,
        kind: ModelKind::Base { parameter_count: 1 },
        context_length: 128,
        model_type: "llama".into(),
        imported_from: String::new(),
        created_by: String::new(),
        create_time_ms: 30,
        update_time_ms: 30,
    };
    assert_eq!(code(store.job_finish(key, &JobEvent::Finish, &output, 30).await), Code::FailedPrecondition);
    assert_eq!(code(store.model_get(&output.name()).await), Code::NotFound);
    for event in [JobEvent::Start, JobEvent::Validate, JobEvent::Write] {
        store.job_transition(key, None, &event, 20).await.unwrap();
    }
    let done = store.job_finish(key, &JobEvent::Finish, &output, 30).await.unwrap();
    assert_eq!((done.state, done.completed_time_ms), (JobState::Completed, Some(30)));
    assert_eq!(store.model_get(&output.name()).await.unwrap(), output);
}
