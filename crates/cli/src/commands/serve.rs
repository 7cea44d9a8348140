//! `hearth serve`.

mod jobs;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use hearth_domain::{AccountId, QuotaKind, TrainingPrices};
use hearth_server::limits::{Rate, ServerLimits};
use hearth_server::{AzureIdentity, S3Endpoint, StorageServices, StsConfig, TlsConfig, WANDB_BASE_URL};
use serde_json::json;

use self::jobs::JobArgs;
use super::{BackendArg, start_log};
use crate::config::{DEFAULT_LISTEN, DataDir, secret_keys};
use crate::local_server::LocalServer;
use crate::output;

/// Run the server: REST, gRPC and chat on one port
///
/// The first start makes the account `default` and an administrator's key, shows the key once and keeps it in
/// the data directory's api-key file. SIGINT or SIGTERM stops the server when open requests have ended; a second one
/// stops it at once. SIGHUP reads the certificate again.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  hearth serve --data-dir ~/hearth-data --listen 127.0.0.1:8080\n  \
                        hearth serve --listen 0.0.0.0:8443 --tls-self-signed --tls-name models.example.org\n\n\
                        HEARTH_LOG sets what is logged, for example HEARTH_LOG=debug; HEARTH_LOG_FORMAT=json\n\
                        writes each line as JSON. docs/OPERATING.md lists limits, metrics and log fields.")]
pub struct Args {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// What signed URLs begin with, if a proxy stands before the server [default: what the client used]
    #[arg(long, env = "HEARTH_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    /// Backend that trains new jobs
    #[arg(long, value_enum, default_value = "cpu")]
    backend: BackendArg,
    /// What a million tokens of training cost, which jobs show, for example "0.50 USD" [default: nothing]
    ///
    /// Given several times, by the size of the base: "16B=0.50 USD" for bases of at most so many parameters, and a
    /// price without a size for all that are larger.
    #[arg(long, value_name = "PRICE")]
    training_price: Vec<String>,
    /// Server of Weights & Biases that jobs are logged to
    #[arg(long, value_name = "URL", default_value = WANDB_BASE_URL)]
    wandb_base_url: String,
    /// Let webhooks be on this machine, or in its networks
    #[arg(long)]
    webhook_allow_private: bool,
    #[command(flatten)]
    data_dir: DataDir,
    #[command(flatten)]
    jobs: JobArgs,
    #[command(flatten)]
    storage: StorageArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

/// How the port is encrypted.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "TLS")]
struct TlsArgs {
    /// Speak TLS with this certificate (PEM, with those between it and its authority)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Speak TLS with a certificate of an authority that the server makes and keeps in its data directory
    #[arg(long, conflicts_with = "tls_cert")]
    tls_self_signed: bool,
    /// Host name or address that clients use, for the certificate of --tls-self-signed; may be repeated
    #[arg(long, value_name = "NAME", requires = "tls_self_signed")]
    tls_name: Vec<String>,
    /// Where the authority's certificate is written for clients to trust [default: DIR/tls/authority.pem]
    #[arg(long, value_name = "FILE", requires = "tls_self_signed")]
    tls_authority_file: Option<PathBuf>,
}

impl TlsArgs {
    fn config(self) -> Option<TlsConfig> {
        match (self.tls_cert, self.tls_key) {
            (Some(cert), Some(key)) => Some(TlsConfig::Files { cert, key }),
            _ => self.tls_self_signed.then_some(TlsConfig::SelfSigned {
                names: self.tls_name,
                authority_file: self.tls_authority_file,
            }),
        }
    }
}

/// Where buckets are that models are imported from and jobs read rows of, and who this server is there. Only services
/// that are named here may be plain HTTP, or on this machine or its network.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Storage services")]
struct StorageArgs {
    /// S3 service, for example http://127.0.0.1:9000 [default: Amazon's]
    #[arg(long, value_name = "URL")]
    s3_endpoint: Option<String>,
    /// Region that requests to it are signed for
    #[arg(long, value_name = "REGION", requires = "s3_endpoint", default_value = "us-east-1")]
    s3_region: String,
    /// File with the token (a JWT) by which this server takes roles at AWS; without it roles cannot be used
    #[arg(long, value_name = "FILE")]
    aws_web_identity_token_file: Option<PathBuf>,
    /// Token service of AWS [default: Amazon's in the region]
    #[arg(long, value_name = "URL", requires = "aws_web_identity_token_file")]
    aws_sts_endpoint: Option<String>,
    /// Region of Amazon's token service [default: us-east-1]
    #[arg(long, value_name = "REGION", requires = "aws_web_identity_token_file")]
    aws_sts_region: Option<String>,
    /// Azure Blob Storage, where an account is URL/ACCOUNT [default: Microsoft's]
    #[arg(long, value_name = "URL")]
    azure_endpoint: Option<String>,
    /// File with the token (a JWT) by which this server takes managed identities at Azure; without it they cannot be used
    #[arg(long, value_name = "FILE")]
    azure_identity_token_file: Option<PathBuf>,
    /// Token service of Azure [default: Microsoft's]
    #[arg(long, value_name = "URL", requires = "azure_identity_token_file")]
    azure_identity_endpoint: Option<String>,
    /// Certificates (PEM) of the authorities of the services that are named here, in place of the usual ones
    #[arg(long, value_name = "FILE")]
    storage_ca_file: Option<PathBuf>,
}

impl StorageArgs {
    fn services(self) -> Result<StorageServices, String> {
        let mut services = StorageServices::default();
        services.ca_file = self.storage_ca_file;
        if let Some(url) = &self.s3_endpoint {
            services.s3 = Some(S3Endpoint::new(url, &self.s3_region)?);
        }
        if let Some(file) = self.aws_web_identity_token_file {
            let (url, region) = (self.aws_sts_endpoint.as_deref(), self.aws_sts_region.as_deref());
            services.sts = Some(StsConfig::new(url, region, file)?);
        }
        if let Some(file) = self.azure_identity_token_file {
            services.azure_identity =
                Some(AzureIdentity::new(self.azure_identity_endpoint.as_deref(), file)?);
        }
        match &self.azure_endpoint {
            Some(url) => services.with_azure(url),
            None => Ok(services),
        }
    }
}

/// Limits that an operator can set.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Open connections; further ones wait [default: 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
    /// Uploads and checks of files at the same time [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_uploads: Option<u32>,
    /// The same for one key [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_uploads_per_key: Option<u32>,
    /// Weights of all models that answer, in bytes or with a unit such as 8GiB [default: 80 % of what is free at the
    /// start]
    #[arg(long, value_name = "SIZE", value_parser = super::train::parse_size)]
    model_memory: Option<u64>,
    /// Calls of one key: CLASS=PER_MINUTE/BURST or CLASS=off; CLASS is control [300000/10000], inference
    /// [12000/1000], upload [6000/1000] or, for each address, wrong-key [60/600]; may be repeated
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    rate: Vec<(RateClass, Option<Rate>)>,
    /// How much each account, or ACCOUNT alone, may have: [ACCOUNT/]NAME=N; NAME is api-keys (5000), datasets (10000),
    /// deployments (100), models (20000), open-batch-inference-jobs (1000), open-supervised-fine-tuning-jobs (10000),
    /// running-supervised-fine-tuning-jobs (64), secrets (1000) or users (1000); may be repeated
    #[arg(long, value_name = "QUOTA", value_parser = parse_quota)]
    quota: Vec<(Option<AccountId>, QuotaKind, u64)>,
    /// How long a server that was told to stop only says that it is not ready, before it stops accepting
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=3600))]
    shutdown_delay: u64,
    /// How long it then waits for open requests [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=3600))]
    shutdown_timeout: Option<u64>,
}

/// What `--rate` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RateClass {
    Control,
    Inference,
    Upload,
    WrongKey,
}

fn parse_rate(text: &str) -> Result<(RateClass, Option<Rate>)> {
    let Some((class, rate)) = text.split_once('=') else {
        bail!("write CLASS=PER_MINUTE/BURST or CLASS=off");
    };
    let class = match class {
        "control" => RateClass::Control,
        "inference" => RateClass::Inference,
        "upload" => RateClass::Upload,
        "wrong-key" => RateClass::WrongKey,
        _ => bail!("there is no class {class}; use control, inference, upload or wrong-key"),
    };
    if rate == "off" {
        return Ok((class, None));
    }
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0);
    let found = rate.split_once('/').and_then(|(rate, burst)| Some((number(rate)?, number(burst)?)));
    match found {
        Some((per_minute, burst)) => Ok((class, Some(Rate { per_minute, burst }))),
        None => bail!("{rate} is not two numbers above zero, PER_MINUTE/BURST"),
    }
}

fn parse_quota(text: &str) -> Result<(Option<AccountId>, QuotaKind, u64)> {
    let Some((name, limit)) = text.split_once('=') else { bail!("write NAME=N or ACCOUNT/NAME=N") };
    let (account, name) = match name.split_once('/') {
        Some((account, name)) => (Some(AccountId::new(account)?), name),
        None => (None, name),
    };
    let Some(kind) = QuotaKind::from_id(name) else {
        let known = QuotaKind::ALL.map(QuotaKind::id).join(", ");
        bail!("there is no quota {name}; there are {known}");
    };
    match limit.parse() {
        Ok(limit) => Ok((account, kind, limit)),
        Err(_) => bail!("{limit} is not a whole number from 0 up"),
    }
}

impl LimitArgs {
    fn limits(self) -> ServerLimits {
        let mut limits = ServerLimits::default();
        let set = |to: &mut usize, given: Option<u32>| {
            if let Some(given) = given {
                *to = given as usize;
            }
        };
        set(&mut limits.connections_max, self.max_connections);
        set(&mut limits.uploads_max, self.max_uploads);
        set(&mut limits.uploads_per_key_max, self.max_uploads_per_key);
        for (class, rate) in self.rate {
            match class {
                RateClass::Control => limits.control_rate = rate,
                RateClass::Inference => limits.inference_rate = rate,
                RateClass::Upload => limits.upload_rate = rate,
                RateClass::WrongKey => limits.wrong_key_rate = rate,
            }
        }
        for (account, kind, limit) in self.quota {
            limits.quotas.set(account, kind, limit);
        }
        limits.shutdown_delay = Duration::from_secs(self.shutdown_delay);
        if let Some(seconds) = self.shutdown_timeout {
            limits.shutdown_timeout = Duration::from_secs(seconds);
        }
        limits
    }
}

impl Args {
    pub fn run(self, json: bool) -> Result<ExitCode> {
        start_log("info");
        let data_dir = self.data_dir.path()?;
        let mut config = LocalServer::config(&data_dir, self.listen, self.backend.into())?;
        config.public_url = self.public_url;
        if let Some(jobs) = &mut config.jobs {
            self.jobs.apply(jobs)?;
        }
        config.tls = self.tls.config();
        if let Some(bytes) = self.limits.model_memory {
            config.inference_limits.model_bytes = bytes;
        }
        config.limits = self.limits.limits();
        config.storage = self.storage.services().map_err(anyhow::Error::msg)?;
        config.training_prices = TrainingPrices::parse(self.training_price.iter().map(String::as_str))
            .map_err(|problem| anyhow!("--training-price: {problem}"))?;
        config.wandb_base_url = self.wandb_base_url;
        config.webhook_allow_private = self.webhook_allow_private;
        config.secret_keys = secret_keys()?;
        let server = LocalServer::start(config)?;
        // Before it says that it listens: whoever reads that may send one.
        let signals = server.signals()?;
        let authority = server.authority_file();
        if json {
            output::json(&json!({
                "url": server.url(),
                "data_dir": data_dir,
                "api_key_path": server.key_path(),
                "api_key": server.new_key(),
                "tls_authority_file": authority,
            }))?;
        } else {
            output::line(&format!("Hearth listens on {}", server.url()))?;
            output::line(&format!("Data directory: {}", data_dir.display()))?;
            if let Some(key) = server.new_key() {
                output::line(&format!("Administrator's key, shown once: {key}"))?;
            }
            output::line(&format!("The key is kept in {}", server.key_path().display()))?;
            if let Some(file) = authority {
                let file = file.display();
                output::line(&format!(
                    "Clients trust this server by {file} (for Python: SSL_CERT_FILE={file})"
                ))?;
            }
        }
        server.run_until_signal(signals);
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_read() {
        let acme = AccountId::new("acme").unwrap();
        assert_eq!(parse_quota("models=5").unwrap(), (None, QuotaKind::Models, 5));
        assert_eq!(parse_quota("acme/api-keys=0").unwrap(), (Some(acme), QuotaKind::ApiKeys, 0));
        for bad in ["models", "models=", "models=-1", "gpus=1", "A/models=1", "/models=1", "=1"] {
            assert!(parse_quota(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_are_read() {
        let rate = |per_minute, burst| Some(Rate { per_minute, burst });
        assert_eq!(parse_rate("control=60/5").unwrap(), (RateClass::Control, rate(60, 5)));
        assert_eq!(parse_rate("wrong-key=off").unwrap(), (RateClass::WrongKey, None));
        for bad in
            ["control", "control=", "control=60", "control=0/5", "control=5/0", "chat=1/1", "upload=-1/1"]
        {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }
}
