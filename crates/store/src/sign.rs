//! Signed URLs: whoever has one may do one thing to one path until a time.

use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::StoreError;
use crate::keyfile;

/// Signs with HMAC-SHA256 under a key of this server.
#[derive(Clone)]
pub struct UrlSigner {
    key: [u8; 32],
}

impl std::fmt::Debug for UrlSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UrlSigner")
    }
}

impl UrlSigner {
    /// Reads the key from a file, or makes one there (mode 0600).
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { key: keyfile::read_or_make_key(path)? })
    }

    /// Query string (`expires=...&signature=...`, without `?`) that lets `method` be used on `path` until
    /// `expires_ms`. `path` is signed as it stands, percent-encoding included; `extra` binds further facts that
    /// the server must check as well, such as the size of an upload.
    pub fn sign(&self, method: &str, path: &str, extra: &str, expires_ms: i64) -> String {
        let tag = self.mac(method, path, extra, expires_ms).finalize().into_bytes();
        format!("expires={expires_ms}&signature={}", hex::encode(tag))
    }

    /// Checks what [`sign`](Self::sign) made, in constant time. First the signature, then the time: an altered URL
    /// never learns whether it would have expired.
    pub fn check(
        &self,
        method: &str,
        path: &str,
        extra: &str,
        expires_ms: i64,
        signature: &str,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let tag = hex::decode(signature).map_err(|_| StoreError::UrlAltered)?;
        self.mac(method, path, extra, expires_ms).verify_slice(&tag).map_err(|_| StoreError::UrlAltered)?;
        if now_ms >= expires_ms {
            return Err(StoreError::UrlExpired);
        }
        Ok(())
    }

    fn mac(&self, method: &str, path: &str, extra: &str, expires_ms: i64) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        for part in [method, path, extra] {
            // Length first, so that no two lists of parts give the same bytes.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(&expires_ms.to_le_bytes());
        mac
    }
}
