//! `keygate login`, `logout`, `whoami`, `password`: in whose name commands speak.

use super::client::{Api, Login, Place, is_local};
use super::flags::Common;
use super::members::set_password;
use super::output::plain;
use super::{Exit, Failed, ask, say};
use crate::domain::secret::Secret;
use anyhow::anyhow;
use clap::Args;
use reqwest::Url;
use serde_json::{Value, json};

#[derive(Args)]
pub(super) struct SignIn {
    #[command(flatten)]
    common: Common,
    /// E-mail of the member [default: asked for]
    #[arg(long, value_name = "E-MAIL", conflicts_with = "token_stdin")]
    email: Option<String>,
    /// Store an admin token, read from standard input, instead of signing in as a member
    #[arg(long)]
    token_stdin: bool,
}

#[derive(Args)]
pub(super) struct SignOut {
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub(super) struct WhoAmI {
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub(super) struct OwnPassword {
    #[command(flatten)]
    common: Common,
}

impl SignIn {
    pub(super) fn run(self, place: &Place) -> Result<Exit, Failed> {
        let url = place.url(self.common.url())?;
        let logins = place.logins().ok_or_else(homeless)?;
        if url.scheme() == "http" && !is_local(&url) {
            say("warning: this address is not encrypted: whoever is on the way reads what is sent");
        }
        let login = if self.token_stdin {
            by_token(&url)?
        } else {
            by_password(&url, self.email)?
        };
        logins.keep(&url, &login)?;
        say(&format!("Signed in at {}.", shown(&url)));
        Ok(Exit::Ok)
    }
}

/// A token is tried before it is stored: a wrong one is told now.
fn by_token(url: &Url) -> Result<Login, Failed> {
    let secret = ask::secret(None, "Token")?;
    Api::new(url.clone(), Some(&secret))?
        .get(&["whoami"])
        .send()?;
    Ok(Login {
        secret,
        session: None,
        email: None,
    })
}

fn by_password(url: &Url, email: Option<String>) -> Result<Login, Failed> {
    let email = match email {
        Some(email) => email,
        None => ask::word("E-mail")?,
    };
    let password = ask::password("Password")?;
    let api = Api::new(url.clone(), None)?;
    let body = json!({"email": email, "password": password.expose()});
    let mut made = api.post(&["sessions"]).json(&body).send()?;
    let Value::String(secret) = made["secret"].take() else {
        return Err(anyhow!("the gateway's answer has no secret").into());
    };
    let session = made["session"]["id"].as_str().or(made["session"].as_str());
    Ok(Login {
        secret: Secret::new(secret),
        session: session.map(str::to_owned),
        email: Some(email),
    })
}

impl SignOut {
    pub(super) fn run(self, place: &Place) -> Result<Exit, Failed> {
        let url = place.url(self.common.url())?;
        let logins = place.logins().ok_or_else(homeless)?;
        let Some(login) = logins.find(&url)? else {
            say(&format!("Nobody is signed in at {}.", shown(&url)));
            return Ok(Exit::Ok);
        };
        // First here: a gateway that is away must not keep somebody signed in on this machine.
        logins.forget(&url)?;
        if let Some(session) = &login.session {
            let api = Api::new(url.clone(), Some(&login.secret))?;
            match api.delete(&["sessions", session]).send() {
                // It has ended by itself.
                Err(failed) if !matches!(failed.exit, Exit::Auth | Exit::NotFound) => {
                    let words = "forgotten here, but the session may still be good at the gateway";
                    return Err(Failed::with(failed.exit, failed.cause.context(words)));
                }
                Ok(_) | Err(_) => {}
            }
        }
        say(&format!("Signed out at {}.", shown(&url)));
        Ok(Exit::Ok)
    }
}

impl WhoAmI {
    pub(super) fn run(self, place: &Place) -> Result<Exit, Failed> {
        let desk = self.common.open(place)?;
        desk.out.one(&desk.api.get(&["whoami"]).send()?)?;
        Ok(Exit::Ok)
    }
}

impl OwnPassword {
    pub(super) fn run(self, place: &Place) -> Result<Exit, Failed> {
        let desk = self.common.open(place)?;
        let caller = desk.api.get(&["whoami"]).send()?;
        let Some(id) = caller["id"].as_str().filter(|_| caller["kind"] == "member") else {
            let words =
                "a token has no password: sign in as a member, or see `keygate members password`";
            return Err(Failed::with(Exit::Usage, anyhow!(words)));
        };
        let current = ask::password("Password in force")?;
        set_password(&desk, id, Some(&current))
    }
}

fn shown(url: &Url) -> String {
    plain(url.as_str().trim_end_matches('/'))
}

fn homeless() -> Failed {
    let fault = anyhow!("there is no home folder: set KEYGATE_HOME to a folder for `login.json`");
    Failed::with(Exit::Usage, fault)
}
