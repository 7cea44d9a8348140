//! Deployments over tiny models. What is in memory is known from what was dropped, never from the size of the process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hearth_domain::{
    Account, Autoscaling, Code, DeployedModelState, DeploymentState, ModelId, Status, UserRole,
};
use hearth_inference::{Cpu, CpuOptions, Limits, Residency};
use hearth_store::installed::{self, InstalledKind, ModelManifest};

use super::*;
use crate::auth::{Caller, Rights};

#[path = "../../../inference/tests/tiny/mod.rs"]
mod tiny;

/// Longest wait for something that happens in the background.
const PATIENCE: Duration = Duration::from_secs(120);

fn account() -> AccountId {
    AccountId::new("default").unwrap()
}

fn id(id: &str) -> DeploymentId {
    DeploymentId::new(id).unwrap()
}

fn model(id: &str) -> ModelRef {
    ModelRef { account: account(), id: ModelId::new(id).unwrap() }
}

/// Installs bases `a` and `b`, and adapters `x` and `y` of `a`.
fn install_all(data_dir: &Path) {
    for (name, base, seed) in [("a", None, 1), ("b", None, 2), ("x", Some("a"), 3), ("y", Some("a"), 4)] {
        let staged = installed::stage(data_dir).unwrap();
        match base {
            None => tiny::write_base(&staged, seed),
            Some(_) => tiny::write_adapter(&staged, seed),
        }
        let manifest = ModelManifest {
            version: ModelManifest::VERSION,
            kind: if base.is_none() { InstalledKind::Base } else { InstalledKind::Adapter },
            display_name: String::new(),
            source: "test".to_owned(),
            hub_id: None,
            parameter_count: 1,
            context_length: tiny::CONTEXT as u32,
            model_type: "llama".to_owned(),
            base_model: base.map(model),
            r: 2,
            target_modules: vec!["q_proj".to_owned()],
            files: installed::digest_files(&staged).unwrap(),
            create_time_ms: 1_700_000_000_000,
        };
        let name = model(name);
        installed::install(data_dir, &name.account, &name.id, &staged, &manifest).unwrap();
    }
}

/// One run of a server on a directory.
struct Run {
    deployments: Deployments,
    inference: Service,
}

impl Run {
    async fn start(data_dir: &Path, model_bytes: u64) -> Self {
        let store = Store::open(data_dir, 0).await.unwrap();
        crate::state::sync_models(&store).await.unwrap();
        let owner = Account::new(account(), "", "", 0);
        if store.account_get(&owner.id).await.is_err() {
            store.account_create(&owner).await.unwrap();
        }
        let cpu = Cpu::new(CpuOptions { threads: 1, ..CpuOptions::default() }).unwrap();
        let limits = Limits { model_bytes, ..Limits::default() };
        let inference = Service::start(Arc::new(cpu), limits, vec![]).unwrap();
        let deployments = Deployments::new(store, inference.clone());
        deployments.start().await.unwrap();
        Self { deployments, inference }
    }

    async fn end(self) {
        self.deployments.shutdown().await;
        self.deployments.store().close().await;
    }

    async fn create(&self, name: &str, base_model: &str) {
        let new = Deployment {
            account: account(),
            id: id(name),
            display_name: String::new(),
            description: String::new(),
            annotations: BTreeMap::new(),
            base_model: Some(model(base_model)),
            state: DeploymentState::Creating,
            status: Status::default(),
            min_replica_count: 0,
            max_replica_count: 1,
            desired_replica_count: 1,
            replica_count: 0,
            autoscaling: Autoscaling::default(),
            enable_addons: true,
            precision: String::new(),
            last_request_time_ms: None,
            created_by: String::new(),
            create_time_ms: now_ms(),
            update_time_ms: now_ms(),
            delete_time_ms: None,
            purge_time_ms: None,
        };
        self.deployments.create(&new).await.unwrap();
    }

    async fn load(&self, adapter: &str, deployment: &str) -> Result<DeployedModel, ServerError> {
        let new = DeployedModel {
            account: account(),
            id: DeployedModelId::new(format!("{adapter}-{deployment}")).unwrap(),
            display_name: String::new(),
            description: String::new(),
            model: model(adapter),
            deployment: id(deployment),
            is_default: false,
            state: DeployedModelState::Deploying,
            status: Status::default(),
            created_by: String::new(),
            create_time_ms: now_ms(),
            update_time_ms: now_ms(),
        };
        self.deployments.create_deployed(new).await
    }

    async fn scale(&self, name: &str, replicas: u32) {
        let change = |deployment: &mut Deployment| {
            deployment.scale(replicas);
            Ok(())
        };
        self.deployments.change(&account(), &id(name), change).await.unwrap();
    }

    async fn get(&self, name: &str) -> Deployment {
        self.deployments.store().get(&account(), name).await.unwrap()
    }

    /// Waits until a deployment does not load any more.
    async fn settled(&self, name: &str) -> Deployment {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let deployment = self.get(name).await;
            if !deployment.is_loading() {
                return deployment;
            }
            assert!(std::time::Instant::now() < deadline, "{deployment:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn ready(&self, name: &str) {
        let deployment = self.settled(name).await;
        let shown = (deployment.state, deployment.replica_count);
        assert_eq!(shown, (DeploymentState::Ready, 1), "{deployment:?}");
    }

    /// Waits until a deployed model is loaded.
    async fn deployed(&self, name: &str) {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let model: DeployedModel = self.deployments.store().get(&account(), name).await.unwrap();
            if model.state == DeployedModelState::Deployed {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{model:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Names of what is loaded, with a star if it is pinned.
    fn loaded(&self) -> String {
        let Residency { bases, adapters, .. } = self.inference.resident();
        let mut names: Vec<String> = bases
            .iter()
            .chain(&adapters)
            .map(|one| {
                let name = one.dir.file_name().unwrap().to_str().unwrap();
                format!("{name}{}", if one.is_pinned { "*" } else { "" })
            })
            .collect();
        names.sort();
        names.join(" ")
    }

    fn bytes(&self) -> u64 {
        self.inference.resident().bytes
    }

    async fn ask(&self, name: &str) -> Option<(ModelRef, Readiness)> {
        let caller = Caller {
            account: account(),
            key_id: String::new(),
            user: None,
            rights: Rights::Member(UserRole::User),
            email: String::new(),
            is_suspended: false,
        };
        let target = self.deployments.target(&caller, name).await.unwrap()?;
        let readiness = self.deployments.ask(&target).await.unwrap();
        Some((target.model, readiness))
    }
}

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    install_all(dir.path());
    dir
}

#[tokio::test]
async fn what_the_record_says_is_in_memory() {
    let dir = directory();
    let run = Run::start(dir.path(), u64::MAX).await;
    run.create("d", "a").await;
    assert_eq!(run.get("d").await.state, DeploymentState::Creating);
    run.ready("d").await;
    assert_eq!(run.loaded(), "a*");
    let x = run.load("x", "d").await.unwrap();
    assert_eq!((x.state, x.is_default), (DeployedModelState::Deployed, true));
    assert_eq!(run.loaded(), "a* x*");
    run.scale("d", 0).await;
    assert_eq!((run.loaded(), run.bytes()), (String::new(), 0));
    let x: DeployedModel = run.deployments.store().get(&account(), x.id.as_str()).await.unwrap();
    assert_eq!((x.state, x.status.code), (DeployedModelState::Deploying, Code::Unavailable));
    run.scale("d", 1).await;
    run.ready("d").await;
    run.deployed("x-d").await;
    assert_eq!(run.loaded(), "a* x*");
    // An adapter with its base.
    run.create("merged", "y").await;
    run.ready("merged").await;
    assert_eq!(run.loaded(), "a* x* y*");
    run.deployments.delete(&account(), &id("d"), true, false).await.unwrap();
    assert_eq!(run.loaded(), "a* y*");
    run.deployments.delete(&account(), &id("merged"), false, false).await.unwrap();
    assert_eq!((run.loaded(), run.bytes()), (String::new(), 0));
    run.end().await;
}

#[tokio::test]
async fn what_does_not_fit_fails_and_says_so() {
    let dir = directory();
    let probe = Run::start(dir.path(), u64::MAX).await;
    probe.create("a", "a").await;
    probe.ready("a").await;
    let base_bytes = probe.bytes();
    probe.end().await;

    let run = Run::start(dir.path(), base_bytes + base_bytes / 2).await;
    run.ready("a").await;
    run.create("b", "b").await;
    let failed = run.settled("b").await;
    assert_eq!((failed.state, failed.status.code), (DeploymentState::Failed, Code::ResourceExhausted));
    assert!(failed.status.message.contains("bytes of memory"), "{}", failed.status.message);
    let (_, readiness) = run.ask("accounts/default/deployments/b").await.unwrap();
    assert_eq!(readiness, Readiness::Failed(failed.status.message));
    assert_eq!(run.loaded(), "a*");
    run.scale("a", 0).await;
    run.scale("b", 1).await;
    run.ready("b").await;
    assert_eq!(run.loaded(), "b*");
    // Files that cannot be read are a failure too, and their path is nobody's business.
    std::fs::write(dir.path().join("models/default/a/model.safetensors"), b"x").unwrap();
    run.scale("b", 0).await;
    run.scale("a", 1).await;
    let failed = run.settled("a").await;
    assert_eq!((failed.state, failed.status.code), (DeploymentState::Failed, Code::FailedPrecondition));
    assert!(!failed.status.message.contains('/') || !failed.status.message.contains("safetensors"));
    assert_eq!(run.bytes(), 0);
    run.end().await;
}

#[tokio::test]
async fn an_adapter_that_cannot_be_loaded_is_not_deployed() {
    let dir = directory();
    let run = Run::start(dir.path(), u64::MAX).await;
    run.create("d", "a").await;
    run.ready("d").await;
    std::fs::write(dir.path().join("models/default/y/adapter_model.safetensors"), b"x").unwrap();
    let error = run.load("y", "d").await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert!(run.deployments.store().all::<DeployedModel>().await.unwrap().is_empty());
    let base = run.load("a", "d").await.unwrap_err();
    assert_eq!(base.code(), Code::FailedPrecondition, "{base}");
    run.load("x", "d").await.unwrap();
    assert_eq!(run.load("x", "d").await.unwrap_err().code(), Code::AlreadyExists);
    // On the deployment that is built in it is the second of its model.
    let second = run.load("x", Deployment::LOCAL).await.unwrap();
    assert!(!second.is_default && second.state == DeployedModelState::Deployed);
    run.deployments.delete_deployed(&account(), &DeployedModelId::new("x-d").unwrap()).await.unwrap();
    let second: DeployedModel = run.deployments.store().get(&account(), "x-local").await.unwrap();
    assert!(second.is_default, "the first is gone");
    // Models that are deployed are not deleted.
    for needed in ["a", "x"] {
        let error = run.deployments.delete_model(&model(needed)).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{needed}: {error}");
    }
    run.deployments.delete_model(&model("b")).await.unwrap();
    run.end().await;
}

#[tokio::test]
async fn without_requests_memory_is_given_back_and_a_request_wakes() {
    let dir = directory();
    let run = Run::start(dir.path(), u64::MAX).await;
    run.create("d", "a").await;
    run.ready("d").await;
    let name = "accounts/default/models/a#accounts/default/deployments/d";
    assert_eq!(run.ask(name).await, Some((model("a"), Readiness::Ready)));
    let asked_ms = run.get("d").await.last_request_time_ms.unwrap();
    let window_ms = Autoscaling::default().scale_to_zero_window_ms;
    run.deployments.pass(asked_ms + window_ms - 1).await.unwrap();
    assert_eq!(run.loaded(), "a*");
    run.deployments.pass(now_ms() + window_ms).await.unwrap();
    let idle = run.get("d").await;
    assert_eq!((idle.state, idle.desired_replica_count, run.bytes()), (DeploymentState::Ready, 0, 0));
    assert_eq!(run.ask(name).await, Some((model("a"), Readiness::ScalingUp)));
    run.ready("d").await;
    assert_eq!(run.ask(name).await, Some((model("a"), Readiness::Ready)));
    // Those that shall have a replica keep it.
    let change = |deployment: &mut Deployment| {
        deployment.min_replica_count = 1;
        Ok(())
    };
    run.deployments.change(&account(), &id("d"), change).await.unwrap();
    run.deployments.pass(now_ms() + window_ms).await.unwrap();
    assert_eq!(run.loaded(), "a*");
    // A deletion is refused while there is traffic; what was deleted goes for good in the end.
    let busy = run.deployments.delete(&account(), &id("d"), false, false).await.unwrap_err();
    assert_eq!(busy.code(), Code::FailedPrecondition, "{busy}");
    run.deployments.delete(&account(), &id("d"), false, true).await.unwrap();
    assert_eq!(run.ask(name).await, None);
    let purge_ms = run.get("d").await.purge_time_ms.unwrap();
    run.deployments.pass(purge_ms - 1).await.unwrap();
    assert!(run.get("d").await.is_deleted());
    run.deployments.pass(purge_ms).await.unwrap();
    assert!(run.deployments.store().get::<Deployment>(&account(), "d").await.is_err());
    run.end().await;
}

#[tokio::test]
async fn names_lead_to_what_is_deployed() {
    let dir = directory();
    let run = Run::start(dir.path(), u64::MAX).await;
    run.create("d", "a").await;
    run.ready("d").await;
    run.load("x", "d").await.unwrap();
    for (name, expect) in [
        ("accounts/default/deployments/d", Some("a")),
        ("accounts/default/models/a#accounts/default/deployments/d", Some("a")),
        ("accounts/default/models/a#d", Some("a")),
        ("accounts/default/models/x#accounts/default/deployments/d", Some("x")),
        ("accounts/default/deployedModels/x-d", Some("x")),
        ("accounts/default/deployedModels/y", Some("y")),
        ("accounts/default/models/y#accounts/default/deployments/local", Some("y")),
        ("accounts/default/models/y", Some("y")),
        ("accounts/default/models/y#accounts/default/deployments/d", None),
        ("accounts/default/models/b#accounts/default/deployments/d", None),
        ("accounts/default/deployments/local", None),
        ("accounts/default/deployments/other", None),
        ("accounts/other/deployments/d", None),
        ("accounts/default/models/a#accounts/other/deployments/local", None),
        ("accounts/other/models/a#accounts/default/deployments/d", None),
        ("accounts/default/deployedModels/other", None),
        ("accounts/default/models/a#", None),
        ("#accounts/default/deployments/d", None),
        ("d", None),
    ] {
        let found = run.ask(name).await.map(|(model, _)| model);
        assert_eq!(found, expect.map(model), "{name}");
    }
    // A model's own name is answered by the deployment that is its default, and counts there.
    run.deployments.forget_requests(&run.get("d").await);
    run.ask("accounts/default/models/x").await.unwrap();
    assert!(run.deployments.inner.requests.lock().unwrap().contains_key(&(account(), id("d"))));
    // It never has to wait.
    run.scale("d", 0).await;
    assert_eq!(run.ask("accounts/default/models/x").await, Some((model("x"), Readiness::Ready)));
    assert_eq!(run.get("d").await.desired_replica_count, 0);
    run.end().await;
}

#[tokio::test]
async fn a_restart_loads_what_was_loaded() {
    let dir = directory();
    let run = Run::start(dir.path(), u64::MAX).await;
    for (name, base_model) in [("up", "a"), ("down", "b"), ("gone", "b")] {
        run.create(name, base_model).await;
        run.ready(name).await;
    }
    run.load("x", "up").await.unwrap();
    run.load("y", Deployment::LOCAL).await.unwrap();
    run.scale("down", 0).await;
    run.deployments.delete(&account(), &id("gone"), false, false).await.unwrap();
    run.end().await;

    // Before anything is loaded, nothing says that it is.
    let store = Store::open(dir.path(), 0).await.unwrap();
    let cpu = Cpu::new(CpuOptions { threads: 1, ..CpuOptions::default() }).unwrap();
    let inference = Service::start(Arc::new(cpu), Limits::default(), vec![]).unwrap();
    let deployments = Deployments::new(store, inference.clone());
    let places = deployments.inner.loads.acquire_many(LOADS_MAX as u32).await.unwrap();
    deployments.start().await.unwrap();
    let run = Run { deployments: deployments.clone(), inference };
    let up = run.get("up").await;
    assert_eq!((up.state, up.replica_count, up.desired_replica_count), (DeploymentState::Updating, 0, 1));
    for deployed in run.deployments.store().all::<DeployedModel>().await.unwrap() {
        assert_eq!(deployed.state, DeployedModelState::Deploying, "{}", deployed.id);
    }
    assert_eq!(run.ask("accounts/default/deployments/up").await.unwrap().1, Readiness::ScalingUp);
    drop(places);
    run.ready("up").await;
    run.deployed("x-up").await;
    run.deployed("y-local").await;
    assert_eq!(run.loaded(), "a* x* y*");
    assert_eq!(run.get("down").await.state, DeploymentState::Ready);
    assert!(run.get("gone").await.is_deleted());
    run.end().await;
}

/// Whoever creates, scales and deletes at the same time: what is loaded in the end is what the records say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn races_leave_nothing_behind() {
    let dir = directory();
    let run = Arc::new(Run::start(dir.path(), u64::MAX).await);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4_u32 {
        let run = Arc::clone(&run);
        tasks.spawn(async move {
            for turn in 0..30_u32 {
                let name = ["p", "q", "r"][((task + turn) % 3) as usize];
                let deployments = &run.deployments;
                let scale = |replicas| {
                    move |deployment: &mut Deployment| {
                        if !deployment.is_deleted() {
                            deployment.scale(replicas);
                        }
                        Ok(())
                    }
                };
                // Most fail, since another task was faster; none may leave the table and the records apart.
                match (task * 7 + turn * 5) % 6 {
                    0 | 1 => drop(deployments.change(&account(), &id(name), scale(1)).await),
                    2 => drop(deployments.change(&account(), &id(name), scale(0)).await),
                    3 => drop(deployments.delete(&account(), &id(name), turn % 2 == 0, true).await),
                    4 => drop(run.load(["x", "y"][(turn % 2) as usize], name).await),
                    _ => {
                        if deployments.store().get::<Deployment>(&account(), name).await.is_err() {
                            // Another task may make it at the same moment.
                            let made = {
                                let run = Arc::clone(&run);
                                tokio::spawn(async move { run.create(name, "a").await }).await
                            };
                            drop(made);
                        }
                    }
                }
                tokio::task::yield_now().await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let store = run.deployments.store();
    let mut up = 0;
    for deployment in store.all::<Deployment>().await.unwrap() {
        let deployment = run.settled(deployment.id.as_str()).await;
        up += usize::from(deployment.is_up());
    }
    // A load that nobody wants any more holds its model until it ends.
    let deadline = std::time::Instant::now() + PATIENCE;
    while run.loaded().contains("a*") != (up > 0) {
        assert!(std::time::Instant::now() < deadline, "{up} are up: {}", run.loaded());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for deployment in store.all::<Deployment>().await.unwrap() {
        run.deployments.delete(&account(), &deployment.id, true, true).await.unwrap();
    }
    assert_eq!(run.deployments.held().await, 0);
    while run.bytes() > 0 {
        assert!(std::time::Instant::now() < deadline, "{}", run.loaded());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(store.all::<DeployedModel>().await.unwrap().is_empty());
}
