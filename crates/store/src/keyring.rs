//! The keys that secrets are encrypted with (XChaCha20-Poly1305). The last one encrypts, all of them open.
//!
//! As text, a keyring is one `ID:KEY` or more, divided by white space or commas: 1 to 32 letters, digits and hyphens, and
//! 64 hex digits. It stands in a file of mode 0600, or the operator gives it.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hearth_domain::secret::Sealed;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::keyfile;

/// Name of the key file in the data directory.
const KEY_FILE: &str = "secrets-key";
/// Length of a key.
const KEY_BYTES: usize = 32;
/// Length of a nonce: long enough to be random.
const NONCE_BYTES: usize = 24;
/// Random bytes of a key's id.
const ID_BYTES: usize = 4;
/// Longest id of a key.
const ID_MAX_CHARS: usize = 32;
/// Longest keyring that is read, in bytes.
const TEXT_MAX_BYTES: u64 = 64 << 10;
/// What errors call a keyring.
const WHAT: &str = "list of keys for secrets (ID:64-HEX-DIGITS, divided by white space or commas)";
/// Path in errors about a keyring that came in no file.
const GIVEN: &str = "the given text";

/// Where the keys come from.
#[derive(Clone, Debug, Default)]
pub struct SecretKeys {
    /// What the operator gave; without it the keys are in the data directory.
    given: Option<SecretString>,
}

impl SecretKeys {
    /// Environment variable in which an operator gives them. Programs that a server starts do not get it.
    pub const VARIABLE: &str = "HEARTH_SECRETS_KEYS";

    /// Keys that the operator keeps. INTERNAL if the text is no keyring; the message repeats no key.
    pub fn given(text: SecretString) -> Result<Self, StoreError> {
        Keyring::parse(text.expose_secret(), Path::new(GIVEN))?;
        Ok(Self { given: Some(text) })
    }

    /// The file that holds them, made with the first secret; `None` if the operator keeps them.
    pub(crate) fn file(&self, data_dir: &Path) -> Option<PathBuf> {
        self.given.is_none().then(|| data_dir.join(KEY_FILE))
    }

    /// Reads the keys; `None` if they belong into a file that is not there.
    pub(crate) fn read(&self, data_dir: &Path) -> Result<Option<Keyring>, StoreError> {
        if let Some(text) = &self.given {
            return Keyring::parse(text.expose_secret(), Path::new(GIVEN)).map(Some);
        }
        let path = data_dir.join(KEY_FILE);
        let text = keyfile::read_secret_file(&path, TEXT_MAX_BYTES)?;
        text.map(|text| Keyring::parse(&text, &path)).transpose()
    }
}

/// One key.
struct Key {
    id: String,
    bytes: SecretBox<[u8; KEY_BYTES]>,
}

impl Key {
    fn random() -> Self {
        let bytes = SecretBox::init_with_mut(|bytes: &mut [u8; KEY_BYTES]| *bytes = rand::random());
        Self { id: hex::encode(rand::random::<[u8; ID_BYTES]>()), bytes }
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.bytes.expose_secret().into())
    }
}

/// Why a value does not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Its key is not in the ring.
    NoKey,
    /// The key that has its id does not open it: the row or the key is not what it was.
    Altered,
}

/// The keys of one server; never empty.
pub(crate) struct Keyring {
    /// Oldest first.
    keys: Vec<Key>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl Keyring {
    /// One random key.
    pub(crate) fn random() -> Self {
        Self { keys: vec![Key::random()] }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, StoreError> {
        // What is said of a key never repeats it.
        let wrong = |message: String| StoreError::Format { path: path.to_owned(), what: WHAT, message };
        let mut keys: Vec<Key> = Vec::new();
        let entries = text.split(|c: char| c.is_whitespace() || c == ',').filter(|entry| !entry.is_empty());
        for (i, entry) in entries.enumerate() {
            let place = i + 1;
            let (id, digits) =
                entry.split_once(':').ok_or_else(|| wrong(format!("entry {place} has no ':'")))?;
            let is_id = (1..=ID_MAX_CHARS).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if !is_id {
                return Err(wrong(format!("entry {place} has no id before its ':'")));
            }
            let mut bytes = Zeroizing::new([0; KEY_BYTES]);
            hex::decode_to_slice(digits, bytes.as_mut_slice())
                .map_err(|_| wrong(format!("the key of entry {place} is not 64 hex digits")))?;
            if keys.iter().any(|known| known.id == id) {
                return Err(wrong(format!("entry {place} has the id of an earlier one")));
            }
            keys.push(Key { id: id.to_owned(), bytes: SecretBox::init_with_mut(|to| *to = *bytes) });
        }
        if keys.is_empty() {
            return Err(wrong("it has no key".to_owned()));
        }
        Ok(Self { keys })
    }

    fn text(&self) -> Zeroizing<String> {
        // As long as it will be: a text that grows leaves copies behind.
        let length = self.keys.iter().map(|key| key.id.len() + 2 + 2 * KEY_BYTES).sum();
        let mut text = Zeroizing::new(String::with_capacity(length));
        for key in &self.keys {
            let digits = Zeroizing::new(hex::encode(key.bytes.expose_secret()));
            for part in [key.id.as_str(), ":", digits.as_str(), "\n"] {
                text.push_str(part);
            }
        }
        text
    }

    /// Writes the keys to the file, in place of what is there: whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> Result<(), StoreError> {
        keyfile::replace_secret_file(path, self.text().as_bytes())
    }

    fn last(&self) -> &Key {
        self.keys.last().expect("a keyring is never empty")
    }

    /// Id of the key that encrypts.
    pub(crate) fn last_id(&self) -> &str {
        &self.last().id
    }

    /// Adds a random key, which encrypts from here on.
    pub(crate) fn add(&mut self) {
        self.keys.push(Key::random());
    }

    /// Forgets all keys but the last and those with these ids.
    pub(crate) fn forget_all_but(&mut self, ids: &[String]) {
        let last = self.last_id().to_owned();
        self.keys.retain(|key| key.id == last || ids.contains(&key.id));
    }

    /// Encrypts the value of what has this name: it opens under no other.
    pub(crate) fn seal(&self, name: &dyn fmt::Display, value: &SecretString) -> Sealed {
        let key = self.last();
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let aad = name.to_string();
        let payload = Payload { msg: value.expose_secret().as_bytes(), aad: aad.as_bytes() };
        let ciphertext = key
            .cipher()
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a value is shorter than the cipher's limit");
        Sealed {
            key_id: key.id.clone(),
            nonce: hex::encode(nonce),
            ciphertext: STANDARD_NO_PAD.encode(ciphertext),
        }
    }

    /// Decrypts the value of this secret.
    pub(crate) fn open(&self, name: &dyn fmt::Display, sealed: &Sealed) -> Result<SecretString, Closed> {
        let key = self.keys.iter().find(|key| key.id == sealed.key_id).ok_or(Closed::NoKey)?;
        let mut nonce = [0; NONCE_BYTES];
        hex::decode_to_slice(&sealed.nonce, &mut nonce).map_err(|_| Closed::Altered)?;
        let ciphertext = STANDARD_NO_PAD.decode(&sealed.ciphertext).map_err(|_| Closed::Altered)?;
        let aad = name.to_string();
        let payload = Payload { msg: &ciphertext, aad: aad.as_bytes() };
        let value = key.cipher().decrypt(&XNonce::from(nonce), payload).map_err(|_| Closed::Altered)?;
        let value = String::from_utf8(value).map_err(|error| {
            drop(Zeroizing::new(error.into_bytes()));
            Closed::Altered
        })?;
        Ok(SecretString::from(value))
    }
}

#[cfg(test)]
mod tests {
    use hearth_domain::{AccountId, SecretId, SecretRef};

    use super::*;

    fn name(account: &str, id: &str) -> SecretRef {
        SecretRef { account: AccountId::new(account).unwrap(), id: SecretId::new(id).unwrap() }
    }

    fn ring(text: &str) -> Result<Keyring, StoreError> {
        Keyring::parse(text, Path::new("test"))
    }

    #[track_caller]
    fn check(ring: &Keyring, name: &SecretRef, sealed: &Sealed, expect: Result<&str, Closed>) {
        let opened = ring.open(name, sealed).map(|value| value.expose_secret().to_owned());
        assert_eq!(opened, expect.map(str::to_owned));
    }

    #[test]
    fn what_is_sealed_opens_under_its_own_name_only() {
        let ring = ring(&format!("k:{}", "5a".repeat(32))).unwrap();
        let own = name("acme", "a");
        let sealed = ring.seal(&own, &SecretString::from("hush"));
        assert_ne!(sealed, ring.seal(&own, &SecretString::from("hush")), "nonces are random");
        check(&ring, &own, &sealed, Ok("hush"));
        check(&ring, &name("acme", "b"), &sealed, Err(Closed::Altered));
        check(&ring, &name("other", "a"), &sealed, Err(Closed::Altered));
        let mut altered = sealed.clone();
        let first = if altered.ciphertext.starts_with('A') { "B" } else { "A" };
        altered.ciphertext.replace_range(0..1, first);
        check(&ring, &own, &altered, Err(Closed::Altered));
        check(&ring, &own, &Sealed { ciphertext: String::new(), ..sealed.clone() }, Err(Closed::Altered));
        check(&ring, &own, &Sealed { nonce: "zz".to_owned(), ..sealed.clone() }, Err(Closed::Altered));
        check(&ring, &own, &Sealed { key_id: "l".to_owned(), ..sealed.clone() }, Err(Closed::NoKey));
        let other = Keyring::parse(&format!("k:{}", "5b".repeat(32)), Path::new("test")).unwrap();
        check(&other, &own, &sealed, Err(Closed::Altered));
    }

    #[test]
    fn the_last_key_encrypts_and_all_open() {
        let mut ring = ring(&format!("b-1:{},\n A2:{}", "07".repeat(32), "03".repeat(32))).unwrap();
        let own = name("acme", "a");
        let old = ring.seal(&own, &SecretString::from("x"));
        assert_eq!((old.key_id.as_str(), ring.last_id()), ("A2", "A2"));
        ring.add();
        let new = ring.seal(&own, &SecretString::from("y"));
        assert!(new.key_id == ring.last_id() && new.key_id.len() == 8, "{new:?}");
        assert_eq!(format!("{ring:?}"), format!("[\"b-1\", \"A2\", \"{}\"]", new.key_id));
        let again = Keyring::parse(&ring.text(), Path::new("test")).unwrap();
        check(&again, &own, &old, Ok("x"));
        check(&again, &own, &new, Ok("y"));
        ring.forget_all_but(&["A2".to_owned()]);
        check(&ring, &own, &old, Ok("x"));
        ring.forget_all_but(&[]);
        check(&ring, &own, &old, Err(Closed::NoKey));
        check(&ring, &own, &new, Ok("y"));
    }

    #[test]
    fn wrong_keyrings_are_refused_without_their_keys() {
        let short = "5a".repeat(31);
        let long_id = "i".repeat(33);
        for text in [
            "",
            " ,\n",
            "x",
            &format!("k:{short}"),
            &format!("k:{short}5g"),
            &format!(":{short}5a"),
            &format!("k k:{short}5a"),
            &format!("k_:{short}5a"),
            &format!("{long_id}:{short}5a"),
            &format!("k:{short}5a k:{short}5b"),
        ] {
            let error = ring(text).unwrap_err().to_string();
            assert!(error.contains("keys for secrets") && !error.contains(&short), "{error}");
        }
    }
}
