//! What `keygate login` stores: per address of a gateway a session or a token, in a file that only its owner reads.

use crate::cli::files::{self, Guard};
use crate::cli::{Exit, Failed};
use crate::domain::secret::Secret;
use anyhow::{Context, anyhow};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The file `login.json`.
pub(in crate::cli) struct Logins {
    file: PathBuf,
}

/// What is stored for one address.
pub(in crate::cli) struct Login {
    pub(in crate::cli) secret: Secret<String>,
    /// Of a member; a token has none.
    pub(in crate::cli) session: Option<String>,
    pub(in crate::cli) email: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
struct Stored {
    /// The address signed in to last.
    default: Option<String>,
    logins: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    secret: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret);
    }
}

impl Logins {
    pub(super) fn new(home: &Path) -> Self {
        Self {
            file: home.join("login.json"),
        }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The address signed in to last.
    pub(super) fn default(&self) -> Option<String> {
        self.read().ok().and_then(|stored| stored.default)
    }

    /// What is stored for this address.
    pub(in crate::cli) fn find(&self, url: &Url) -> Result<Option<Login>, Failed> {
        let mut stored = self.read()?;
        let entry = stored.logins.get_mut(url.as_str());
        Ok(entry.map(|entry| Login {
            secret: Secret::new(std::mem::take(&mut entry.secret)),
            session: entry.session.take(),
            email: entry.email.take(),
        }))
    }

    /// Stores it, in place of what was there for this address.
    pub(in crate::cli) fn keep(&self, url: &Url, login: &Login) -> Result<(), Failed> {
        let mut stored = self.read()?;
        stored.default = Some(url.to_string());
        let entry = Entry {
            secret: login.secret.expose().clone(),
            session: login.session.clone(),
            email: login.email.clone(),
        };
        stored.logins.insert(url.to_string(), entry);
        self.write(&stored)
    }

    /// Forgets this address.
    pub(in crate::cli) fn forget(&self, url: &Url) -> Result<(), Failed> {
        let mut stored = self.read()?;
        stored.logins.remove(url.as_str());
        if stored.default.as_deref() == Some(url.as_str()) {
            stored.default = stored.logins.keys().next().cloned();
        }
        self.write(&stored)
    }

    fn read(&self) -> Result<Stored, Failed> {
        let named = || self.file.display().to_string();
        let mode = match fs::metadata(&self.file) {
            Ok(known) => known.permissions().mode(),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Stored::default()),
            Err(fault) => return Err(anyhow::Error::from(fault).context(named()).into()),
        };
        if mode & 0o077 != 0 {
            let fault = anyhow!("{} can be read by others: chmod 600 it", named());
            return Err(Failed::with(Exit::Auth, fault));
        }
        let text = Zeroizing::new(fs::read_to_string(&self.file).with_context(named)?);
        // The parser's own words could repeat a part of a secret.
        let stored = serde_json::from_str(&text)
            .map_err(|_| anyhow!("{} is damaged: delete it and sign in again", named()))?;
        Ok(stored)
    }

    fn write(&self, stored: &Stored) -> Result<(), Failed> {
        let text = Zeroizing::new(serde_json::to_string_pretty(stored)?);
        if let Some(folder) = self.file.parent() {
            files::private_folder(folder)?;
        }
        files::write(&self.file, text.as_bytes(), Guard::Replace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(secret: &str) -> Login {
        Login {
            secret: Secret::new(secret.into()),
            session: None,
            email: None,
        }
    }

    #[test]
    fn each_address_has_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let logins = Logins::new(&folder.path().join("new"));
        let [a, b]: [Url; 2] = ["http://a/", "http://b/"].map(|url| url.parse().unwrap());
        let find = |url: &Url| {
            let found = logins.find(url).ok().flatten();
            found.map(|login| login.secret.expose().clone())
        };
        assert_eq!((find(&a), logins.default()), (None, None));
        logins.keep(&a, &login("one")).ok().unwrap();
        logins.keep(&b, &login("two")).ok().unwrap();
        assert_eq!(find(&a).as_deref(), Some("one"));
        assert_eq!(logins.default().as_deref(), Some("http://b/"));
        logins.forget(&b).ok().unwrap();
        assert_eq!(find(&b), None);
        assert_eq!(logins.default().as_deref(), Some("http://a/"));
        let mode = fs::metadata(&logins.file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_others_read_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let logins = Logins::new(folder.path());
        let url: Url = "http://a/".parse().unwrap();
        logins.keep(&url, &login("one")).ok().unwrap();
        fs::set_permissions(&logins.file, fs::Permissions::from_mode(0o640)).unwrap();
        let fault = logins.find(&url).err().unwrap();
        assert_eq!(fault.exit, Exit::Auth);
        assert!(!fault.cause.to_string().contains("one"));
    }

    #[test]
    fn a_damaged_file_is_told_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let logins = Logins::new(folder.path());
        let url: Url = "http://a/".parse().unwrap();
        logins.keep(&url, &login("one")).ok().unwrap();
        fs::write(&logins.file, "{\"logins\": \"hunter2\"}").unwrap();
        let fault = logins.find(&url).err().unwrap();
        assert!(!format!("{:?}", fault.cause).contains("hunter2"));
    }
}
