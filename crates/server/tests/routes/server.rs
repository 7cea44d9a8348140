//! A real server on a loopback port with a data directory of its own, and a client that shows what came back.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hearth_domain::schedule::Limits;
use hearth_domain::{AccountId, ModelId, ModelRef};
use hearth_server::{JobsConfig, RunningServer, ServerConfig};
use hearth_store::installed::{self, InstalledKind, ModelManifest};
use serde_json::Value;
use tokio::runtime::Runtime;

/// Longest reply that a test reads.
const REPLY_MAX_BYTES: u64 = 64 << 20;

/// The server. It stops when it is dropped.
pub struct Server {
    runtime: Runtime,
    running: Option<RunningServer>,
    pub dir: tempfile::TempDir,
    pub base: String,
    /// The operator's key.
    pub key: String,
    agent: ureq::Agent,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("not JSON ({error}): {} {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }

    /// Status and body, for snapshots. The detail that names the request is checked and left out.
    #[track_caller]
    pub fn shown(&self) -> Value {
        let mut body = self.json();
        if self.status >= 400 {
            let details = body["details"].as_array_mut().unwrap();
            let info = details.pop().unwrap();
            assert_eq!(info["@type"], "type.googleapis.com/google.rpc.RequestInfo");
            assert_eq!(info["requestId"], self.headers["x-request-id"].as_str());
        }
        body.sort_all_objects();
        serde_json::json!({ "status": self.status, "body": body })
    }

    /// With the next page's token, which depends on the time, replaced.
    pub fn hide_token(self) -> Self {
        let mut body = self.json();
        if body["nextPageToken"] != "" {
            body["nextPageToken"] = "[token]".into();
        }
        Self { body: body.to_string().into_bytes(), ..self }
    }

    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// HTTP status, code and message of an error.
    pub fn error(&self) -> (u16, i64, String) {
        let body = self.json();
        let code = body["code"].as_i64().unwrap_or(-1);
        (self.status, code, body["message"].as_str().unwrap_or_default().to_owned())
    }
}

impl Server {
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    /// On a directory that may hold models or the state of an earlier server.
    pub fn start_in(dir: tempfile::TempDir) -> Self {
        Self::start_with(dir, |_| {})
    }

    /// With other settings than those of [`config`].
    pub fn start_with(dir: tempfile::TempDir, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        let running = runtime.block_on(hearth_server::serve(config)).unwrap();
        let key = std::fs::read_to_string(dir.path().join("api-key")).unwrap().trim().to_owned();
        let base = running.url();
        let mut tls = ureq::tls::TlsConfig::builder();
        if let Some(file) = running.authority_file() {
            let authority = ureq::tls::Certificate::from_pem(&std::fs::read(file).unwrap()).unwrap();
            tls = tls.root_certs(ureq::tls::RootCerts::new_with_certs(&[authority]));
        }
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .build()
            .into();
        Self { runtime, running: Some(running), dir, base, key, agent }
    }

    /// The running server itself.
    pub fn running(&self) -> &RunningServer {
        self.running.as_ref().unwrap()
    }

    /// The running server, for a test that stops it itself.
    pub fn take_running(&mut self) -> RunningServer {
        self.running.take().unwrap()
    }

    /// The directory of a server that was stopped.
    pub fn give_back_dir(mut self) -> tempfile::TempDir {
        assert!(self.running.is_none());
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.running().addr()
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// A request with the operator's key.
    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        self.send_as(Some(&self.key), method, path, body)
    }

    pub fn send_as(&self, key: Option<&str>, method: &str, path: &str, body: &[u8]) -> Reply {
        let bearer = key.map(|key| format!("Bearer {key}"));
        let headers: Vec<(&str, &str)> =
            bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        self.request(&headers, method, path, body)
    }

    /// `path` may be a whole URL.
    pub fn request(&self, headers: &[(&str, &str)], method: &str, path: &str, body: &[u8]) -> Reply {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = if body.is_empty() && matches!(method, "GET" | "DELETE") {
            self.agent.run(request.body(()).unwrap())
        } else {
            self.agent.run(request.body(body).unwrap())
        };
        let response = response.unwrap();
        let (parts, body) = response.into_parts();
        let mut bytes = Vec::new();
        body.into_reader().take(REPLY_MAX_BYTES).read_to_end(&mut bytes).unwrap();
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        Reply { status: parts.status.as_u16(), headers, body: bytes }
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, b"")
    }

    /// Asks again and again until the answer is as wanted.
    pub fn wait_for(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..3000 {
            let answer = self.get(path).ok();
            if wanted(&answer) {
                return answer;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{path} never is as wanted");
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, body.to_string().as_bytes())
    }

    pub fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, b"")
    }

    /// Sends a file as the part `file` of a multipart form.
    pub fn upload(&self, path: &str, file_name: &str, content: &[u8]) -> Reply {
        let boundary = "hearth-test-boundary";
        let mut body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{file_name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(content);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let bearer = format!("Bearer {}", self.key);
        let form = format!("multipart/form-data; boundary={boundary}");
        self.request(&[("authorization", &bearer), ("content-type", &form)], "POST", path, &body)
    }

    /// A READY dataset of the account `default`.
    pub fn ready_dataset(&self, id: &str) {
        self.post("/v1/accounts/default/datasets", &serde_json::json!({ "datasetId": id })).ok();
        let path = format!("/v1/accounts/default/datasets/{id}:upload");
        self.upload(&path, "rows.jsonl", rows().as_bytes()).ok();
    }

    /// A second account with a key of its own.
    pub fn account(&self, id: &str) -> String {
        self.post(&format!("/v1/accounts?accountId={id}"), &serde_json::json!({})).ok();
        let body = serde_json::json!({"apiKey": {"email": format!("dev@{id}.example")}});
        let key = self.post(&format!("/v1/accounts/{id}/apiKeys"), &body).ok();
        key["key"].as_str().unwrap().to_owned()
    }

    /// Stops it and gives the directory back.
    pub fn stop(mut self) -> tempfile::TempDir {
        let running = self.take_running();
        self.runtime.block_on(running.shutdown());
        self.give_back_dir()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.shutdown());
        }
    }
}

/// Jobs stay PENDING: no trainer is started.
pub fn config(dir: &Path) -> ServerConfig {
    let limits = Limits { capacity: 0, ..Limits::default() };
    let jobs = JobsConfig {
        limits,
        regions: Vec::new(),
        free_memory: || None,
        trainer: vec!["false".into()],
        fetcher: vec!["false".into()],
        backend: hearth_run::Backend::Cpu,
        poll_interval: Duration::from_millis(20),
        silence_max: hearth_server::TRAINER_SILENCE_MAX,
    };
    let config = ServerConfig::new(dir, "127.0.0.1:0".parse().unwrap());
    // Nobody listens there.
    let wandb_base_url = "http://127.0.0.1:1".to_owned();
    ServerConfig { jobs: Some(jobs), inference_threads: 1, wandb_base_url, ..config }
}

/// Installs a model whose only file is a `config.json`: the control plane looks at no weights.
pub fn install_model(data_dir: &Path, account: &str, id: &str, base: Option<&str>) {
    let staged = installed::stage(data_dir).unwrap();
    std::fs::write(staged.join("config.json"), "{}").unwrap();
    let (account, id) = (AccountId::new(account).unwrap(), ModelId::new(id).unwrap());
    let manifest = ModelManifest {
        version: ModelManifest::VERSION,
        kind: if base.is_some() { InstalledKind::Adapter } else { InstalledKind::Base },
        display_name: format!("Model {id}"),
        source: "test".to_owned(),
        hub_id: None,
        parameter_count: 1000,
        context_length: 2048,
        model_type: "llama".to_owned(),
        base_model: base.map(|base| ModelRef {
            account: AccountId::new("fireworks").unwrap(),
            id: ModelId::new(base).unwrap(),
        }),
        r: if base.is_some() { 8 } else { 0 },
        target_modules: if base.is_some() { vec!["q_proj".to_owned()] } else { Vec::new() },
        files: installed::digest_files(&staged).unwrap(),
        create_time_ms: 1_700_000_000_000,
    };
    installed::install(data_dir, &account, &id, &staged, &manifest).unwrap();
}

/// Five rows that can be trained on.
pub fn rows() -> String {
    let row = |i: u32| {
        serde_json::json!({"messages": [
            {"role": "user", "content": format!("question {i}")},
            {"role": "assistant", "content": format!("answer {i}")},
        ]})
    };
    (0..5).map(|i| format!("{}\n", row(i))).collect()
}
