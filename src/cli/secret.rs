//! A new secret, which the gateway shows this once: to a file, or to whoever reads the output. It must neither be lost nor
//! stand anywhere else.

use super::files::{Begun, Guard};
use super::flags::Keep;
use super::output::{Format, Output};
use super::{Exit, Failed, print, say};
use anyhow::anyhow;
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Where the secret will go, made sure of before it is made.
pub(super) struct Destination {
    file: Option<(Begun, PathBuf)>,
}

impl Destination {
    pub(super) fn prepare(keep: &Keep, format: Format) -> Result<Self, Failed> {
        let Some(file) = &keep.save_to else {
            if format == Format::Name {
                let fault = anyhow!("with -o name the secret would be lost: add --save-to FILE");
                return Err(Failed::with(Exit::Usage, fault));
            }
            return Ok(Self { file: None });
        };
        let guard = if keep.yes {
            Guard::Replace
        } else {
            Guard::Keep
        };
        let begun = Begun::start(file, guard)?;
        Ok(Self {
            file: Some((begun, file.clone())),
        })
    }

    /// Shows what was made; `once` is the key by which the same answer can be had again.
    pub(super) fn deliver(self, mut reply: Value, out: &Output, once: &str) -> Result<(), Failed> {
        let Some((mut begun, file)) = self.file else {
            return show(reply, out);
        };
        let secret = Zeroizing::new(reply["secret"].as_str().unwrap_or_default().to_owned());
        if let Some(reply) = reply.as_object_mut() {
            reply.remove("secret");
        }
        let kept = begun
            .write_all(secret.as_bytes())
            .and_then(|()| begun.write_all(b"\n"))
            .map_err(Failed::from)
            .and_then(|()| begun.finish());
        kept.map_err(|failed| {
            let words = format!(
                "the secret was made, but not saved; the same command with `--idempotency-key {once}` and another file gives \
                 it again"
            );
            Failed::with(failed.exit, failed.cause.context(words))
        })?;
        out.one(&reply)?;
        say(&format!("The secret is in {}.", file.display()));
        Ok(())
    }
}

fn show(mut reply: Value, out: &Output) -> Result<(), Failed> {
    if out.format() != Format::Table {
        return out.one(&reply);
    }
    let secret = reply["secret"].take();
    if let Some(reply) = reply.as_object_mut() {
        reply.remove("secret");
    }
    out.one(&reply)?;
    let secret = secret.as_str().unwrap_or_default();
    print(&format!("\nsecret  {secret}"))?;
    say("This is the only time it is shown: keep it now, it cannot be read again.");
    Ok(())
}
