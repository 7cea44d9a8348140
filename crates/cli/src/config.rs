//! All configuration: flags and environment, read here and nowhere else, and passed down as plain values.

use std::env::VarError;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hearth_client::{Client, qualify};
use hearth_store::SecretKeys;

/// Where `hearth serve` listens unless told otherwise, and where client commands look for it.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// Same, as an address for clients.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// File in the data directory that holds the administrator's key.
pub const API_KEY_FILE: &str = "api-key";
/// File in the data directory that holds the certificate of the server's own authority.
const AUTHORITY_FILE: &str = "tls/authority.pem";
/// Pseudo-account of the base models.
pub const BASE_MODEL_ACCOUNT: &str = "fireworks";
/// Longest key file that is read.
const API_KEY_MAX_BYTES: usize = 4096;

/// Whether what is printed may have colours: on a terminal, unless NO_COLOR asks for none.
pub fn has_colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Where models, runs and the database live.
#[derive(clap::Args, Clone, Debug)]
pub struct DataDir {
    /// Data directory [default: ~/.local/share/hearth]
    #[arg(long = "data-dir", env = "HEARTH_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl DataDir {
    /// The directory that was named, or the one that the XDG base directory specification gives.
    pub fn path(&self) -> Result<PathBuf> {
        if let Some(dir) = &self.data_dir {
            return Ok(std::path::absolute(dir)?);
        }
        let absolute =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute("XDG_DATA_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
            .map(|dir| dir.join("hearth"))
            .context("no data directory: set HEARTH_DATA_DIR or give --data-dir")
    }
}

/// Which server a client command talks to, and as whom. The key comes from `HEARTH_API_KEY`, or from the data
/// directory's `api-key` file if the server is on this machine.
#[derive(clap::Args, Clone, Debug)]
pub struct Server {
    /// Address of the server
    #[arg(long, env = "HEARTH_URL", value_name = "URL", default_value = DEFAULT_URL)]
    url: String,
    /// Certificates (PEM) of the authorities that the server may have its certificate from, instead of the public
    /// ones [default for a server on this machine: its own authority, DIR/tls/authority.pem, if it is there]
    #[arg(long, env = "HEARTH_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Account to act in [default: the key's own]
    #[arg(long, env = "HEARTH_ACCOUNT_ID", value_name = "ID")]
    account: Option<String>,
    #[command(flatten)]
    data_dir: DataDir,
}

/// A client, and the account that bare ids belong to.
pub struct Remote {
    /// Speaks to the server.
    pub client: Client,
    /// Account id.
    pub account: String,
}

impl Remote {
    /// The full name of a model that a person may have given by its id: the account's own model of that id,
    /// or else the base model.
    pub fn find_model(&self, id_or_name: &str) -> Result<String> {
        if id_or_name.contains('/') {
            return Ok(id_or_name.to_owned());
        }
        let own = qualify(&self.account, "models", id_or_name);
        match self.client.get(&own) {
            Ok(_) => Ok(own),
            Err(error) if error.code() == Some("NOT_FOUND") => {
                Ok(qualify(BASE_MODEL_ACCOUNT, "models", id_or_name))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Server {
    /// A client with the key, if there is one.
    pub fn client(&self) -> Result<Client> {
        let key = match std::env::var("HEARTH_API_KEY") {
            Ok(key) if !key.trim().is_empty() => Some(key.trim().to_owned()),
            _ => self.local_key()?,
        };
        Ok(Client::new(&self.url, key, self.authorities()?.as_deref())?)
    }

    /// What the server's certificate is checked with, in PEM; `None` is the public authorities.
    fn authorities(&self) -> Result<Option<Vec<u8>>> {
        if let Some(file) = &self.ca_file {
            let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            return Ok(Some(pem));
        }
        if !is_loopback(&self.url) {
            return Ok(None);
        }
        // Without the file, or the right to read it, the public authorities are what is left.
        Ok(self.data_dir.path().ok().and_then(|dir| std::fs::read(dir.join(AUTHORITY_FILE)).ok()))
    }

    /// A client and the account.
    pub fn connect(&self) -> Result<Remote> {
        let client = self.client()?;
        let account = match &self.account {
            Some(account) => account.trim_start_matches("accounts/").to_owned(),
            None => client.verify_api_key().context("cannot find out whose API key this is")?.account_id,
        };
        Ok(Remote { client, account })
    }

    /// The key file of the data directory. It opens the local server only: it is not sent to another machine.
    fn local_key(&self) -> Result<Option<String>> {
        if !is_loopback(&self.url) {
            return Ok(None);
        }
        match self.data_dir.path() {
            Ok(dir) => read_key_file(&dir.join(API_KEY_FILE)),
            Err(_) => Ok(None),
        }
    }
}

/// Reads a key file; one that is not there or not readable is no key.
fn read_key_file(path: &Path) -> Result<Option<String>> {
    let Ok(text) = std::fs::read_to_string(path) else {
        return Ok(None);
    };
    if text.len() > API_KEY_MAX_BYTES {
        bail!("{} is not a key file", path.display());
    }
    Ok(Some(text.trim().to_owned()).filter(|key| !key.is_empty()))
}

/// Whether the URL's host is this machine.
fn is_loopback(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if authority.contains('@') {
        return false;
    }
    if let Ok(address) = authority.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host == "localhost"
        || host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// What secrets are encrypted with: `HEARTH_SECRETS_KEYS`, or else the key file of the data directory.
pub fn secret_keys() -> Result<SecretKeys> {
    const NAME: &str = SecretKeys::VARIABLE;
    match std::env::var(NAME) {
        Ok(text) if !text.trim().is_empty() => {
            SecretKeys::given(text.into()).with_context(|| format!("{NAME} cannot be used"))
        }
        Ok(_) | Err(VarError::NotPresent) => Ok(SecretKeys::default()),
        // The error would hold the text.
        Err(VarError::NotUnicode(_)) => bail!("{NAME} cannot be used: it is not UTF-8 text"),
    }
}

/// Address of the Hugging Face hub or of a mirror.
pub fn hub_endpoint() -> String {
    let endpoint = std::env::var("HF_ENDPOINT").unwrap_or_default();
    let endpoint = endpoint.trim().trim_end_matches('/');
    if endpoint.is_empty() { "https://huggingface.co".into() } else { endpoint.into() }
}

/// What the log shows, in the syntax of `tracing`: `HEARTH_LOG`, for example `info` or `hearth_server=debug`.
pub fn log_filter(default: &str) -> String {
    std::env::var("HEARTH_LOG").ok().filter(|text| !text.is_empty()).unwrap_or_else(|| default.into())
}

/// Whether each line of the log is JSON: `HEARTH_LOG_FORMAT=json`.
pub fn log_is_json() -> bool {
    std::env::var("HEARTH_LOG_FORMAT").is_ok_and(|format| format == "json")
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn the_local_key_stays_on_this_machine() {
        for url in ["http://127.0.0.1:8080", "http://localhost", "http://localhost:1/x", "http://[::1]:80"] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "http://10.0.0.1:8080",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org:80",
            "http://localhost@example.org",
            "http://localhost:80@example.org",
            "https://example.org/127.0.0.1",
            "localhost:8080",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
