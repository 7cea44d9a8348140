//! What opens a bucket or a container.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What opens a bucket of S3.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AwsAccess {
    /// Nothing: it is public.
    #[default]
    Public,
    /// An access key.
    Key(AccessKey),
    /// A role that is taken with this server's identity.
    Role {
        /// `arn:aws:iam::{account}:role/{name}`.
        arn: String,
        /// What the session is called: the role's owner sees it, and may make it a condition.
        session: String,
    },
}

/// An access key of somebody who may read a bucket.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccessKey {
    /// Its id.
    pub id: String,
    /// Its secret.
    #[serde(serialize_with = "expose", deserialize_with = "conceal")]
    pub secret: SecretString,
    /// What belongs to a key that is given for a while.
    #[serde(default, serialize_with = "expose_some", deserialize_with = "conceal_some")]
    pub token: Option<SecretString>,
}

/// What opens a container of Azure.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AzureAccess {
    /// Nothing: it is public.
    #[default]
    Public,
    /// The key of the account.
    AccountKey {
        /// In base64.
        #[serde(serialize_with = "expose", deserialize_with = "conceal")]
        key: SecretString,
    },
    /// A shared access signature.
    Sas {
        /// The query of a signed URL.
        #[serde(serialize_with = "expose", deserialize_with = "conceal")]
        token: SecretString,
    },
    /// A managed identity that trusts this server's.
    Identity {
        /// Which.
        client_id: String,
        /// Where it lives.
        tenant_id: String,
    },
}

/// Only into the pipe to the process that reads the files.
fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

fn expose_some<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(ExposeSecret::expose_secret).serialize(serializer)
}

fn conceal_some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Into::into))
}

fn conceal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(Into::into)
}
