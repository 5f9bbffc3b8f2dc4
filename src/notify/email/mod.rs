//! Notices by e-mail, in plain text: warnings and worse, to the addresses of the config and to members who have a role
//! where the notice is.

use super::retry::next_attempt;
use crate::clock::Clock;
use crate::domain::id::{Id, Kind};
use crate::domain::key::record::DAY_MILLIS;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::store::deliveries::{Attempt, EMAIL, Leased};
use crate::store::notices::{NoticeRecord, Severity};
use crate::store::{Store, StoreError};
use futures_util::future::BoxFuture;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// Notices older than this were made while no e-mail was sent: nobody wants them all at once.
const STALE_MILLIS: i64 = DAY_MILLIS;
const TIMEOUT: Duration = Duration::from_secs(20);
const BATCH: usize = 16;
const LOOK: Duration = Duration::from_secs(5);

/// How the way to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// TLS after STARTTLS, never without.
    StartTls,
    /// TLS from the first byte on.
    Tls,
    /// Not at all.
    Plain,
}

/// Where and how e-mails go.
#[derive(Debug, Clone)]
pub struct EmailSettings {
    /// The mail server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the way there is protected.
    pub security: Security,
    /// User and password.
    pub login: Option<(String, Secret<String>)>,
    /// Who they come from: name and address.
    pub from: (Option<String>, String),
    /// Who gets every notice.
    pub to: Vec<String>,
}

/// Why e-mails cannot be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum EmailFault {
    /// No address.
    #[error("the sender's address is none: {0}")]
    From(String),
    /// TLS cannot be set up.
    #[error("TLS to the mail server cannot be set up: {0}")]
    Tls(String),
}

/// A member who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// `mem_…`: what is kept beside the e-mail, so that erasing a member leaves no address behind.
    pub key: String,
    /// The address as it is now.
    pub address: String,
}

/// Members who have a role in a workspace or above.
pub type Recipients =
    Arc<dyn Fn(Id) -> BoxFuture<'static, Result<Vec<Recipient>, StoreError>> + Send + Sync>;

/// Sends notices by e-mail.
pub struct Emailer {
    store: Store,
    clock: Arc<dyn Clock>,
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<String>,
    recipients: Recipients,
}

impl Emailer {
    /// Makes one; nothing is dialled yet.
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        settings: EmailSettings,
        recipients: Recipients,
    ) -> Result<Self, EmailFault> {
        let (name, address) = settings.from;
        let address = address
            .parse()
            .map_err(|_| EmailFault::From(address.clone()))?;
        let parameters = || parameters(&settings.host);
        let tls = match settings.security {
            Security::StartTls => Tls::Required(parameters()?),
            Security::Tls => Tls::Wrapper(parameters()?),
            Security::Plain => Tls::None,
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
            .port(settings.port)
            .tls(tls)
            .timeout(Some(TIMEOUT));
        if let Some((user, password)) = settings.login {
            transport = transport.credentials(Credentials::new(user, password.expose().clone()));
        }
        Ok(Self {
            store,
            clock,
            transport: transport.build(),
            from: Mailbox::new(name, address),
            to: settings.to,
            recipients,
        })
    }

    /// Sends until it is told to stop; what is under way is finished.
    pub async fn run(self, stop: CancellationToken) {
        let mut committed = self.store.committed();
        while !stop.is_cancelled() {
            let (part, outage) = ("e-mail", self.store.outage());
            match self.send_once().await {
                Ok(sent) => {
                    outage.worked(part);
                    if sent > 0 {
                        // There may be more; what failed waits for its time.
                        continue;
                    }
                }
                Err(fault) => outage.failed(part, &fault),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                Ok(()) = committed.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Makes e-mails of new notices, and sends what is due; how many were tried.
    pub async fn send_once(&self) -> Result<usize, StoreError> {
        self.spread().await?;
        let until = Timestamp::from_millis(
            self.clock.now().as_millis() + crate::store::deliveries::MAX_LEASE_MILLIS,
        );
        let leased = self.store.lease_deliveries(EMAIL, BATCH, until).await?;
        for one in &leased {
            let attempt = self.attempt(one).await?;
            self.store.finish_delivery(one.id, &attempt).await?;
        }
        Ok(leased.len())
    }

    async fn spread(&self) -> Result<(), StoreError> {
        loop {
            let notices = self.store.unspread_notices(BATCH).await?;
            if notices.is_empty() {
                return Ok(());
            }
            let oldest = self.clock.now().as_millis() - STALE_MILLIS;
            for notice in notices {
                let wanted = notice.severity >= Severity::Warning
                    && notice.withdrawn_at.is_none()
                    && notice.at.as_millis() > oldest;
                let mut to = Vec::new();
                if wanted {
                    to.clone_from(&self.to);
                    for member in (self.recipients)(notice.workspace).await? {
                        // Who is in the config already is not told twice.
                        if !self.to.contains(&member.address) {
                            to.push(member.key);
                        }
                    }
                }
                self.store.spread_notice(notice.id, &to).await?;
            }
        }
    }

    async fn attempt(&self, one: &Leased) -> Result<Attempt, StoreError> {
        let failed = |error: &str| {
            Ok(Attempt::Failed {
                status: None,
                error: error.into(),
            })
        };
        let Some(id) = Id::parse(Kind::Notice, &one.event) else {
            return failed("no notice");
        };
        let notice = match self.store.notice(id, "").await {
            Ok(notice) => notice,
            Err(StoreError::NotFound) => return failed("the notice is too old"),
            Err(fault) => return Err(fault),
        };
        if notice.withdrawn_at.is_some() {
            return failed("the notice was taken back");
        }
        let Some(address) = self.address(one, &notice).await? else {
            return failed("the member is not told any more");
        };
        let Some(message) = self.message(one, &notice, &address) else {
            return failed("the address is none");
        };
        Ok(match self.transport.send(message).await {
            Ok(_) => Attempt::Delivered(None),
            Err(fault) => {
                let status = fault.status().map(u16::from);
                // The server's own words may hold the address.
                let error = match status {
                    Some(code) => format!("the mail server refused it with {code}"),
                    None if fault.is_timeout() => "the mail server did not answer in time".into(),
                    None if fault.is_tls() => "no TLS with the mail server".into(),
                    None => "the mail server cannot be reached".into(),
                };
                match next_attempt(one.attempts + 1, self.clock.now()) {
                    Some(at) => Attempt::Retry { at, status, error },
                    None => Attempt::Failed { status, error },
                }
            }
        })
    }

    /// Where a member's e-mail goes now: the address may have changed, or be gone.
    async fn address(
        &self,
        one: &Leased,
        notice: &NoticeRecord,
    ) -> Result<Option<String>, StoreError> {
        if one.recipient.contains('@') {
            return Ok(Some(one.recipient.clone()));
        }
        let members = (self.recipients)(notice.workspace).await?;
        Ok(members
            .into_iter()
            .find(|member| member.key == one.recipient)
            .map(|member| member.address))
    }

    fn message(&self, one: &Leased, notice: &NoticeRecord, address: &str) -> Option<Message> {
        let now = u64::try_from(self.clock.now().as_millis()).unwrap_or_default();
        let host = self.from.email.domain();
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, address.parse().ok()?))
            .subject(format!("[keygate] {}", one_line(&notice.title)))
            // Sent twice, it is still the same message.
            .message_id(Some(format!("<{}@{host}>", one.id.text(Kind::Delivery))))
            .date(UNIX_EPOCH + Duration::from_millis(now))
            .header(ContentType::TEXT_PLAIN)
            .body(text(notice))
            .ok()
    }
}

/// Trusts the authorities that the system trusts, so that of a company too; where it names none, such as in a small
/// container, those that browsers trust.
fn parameters(host: &str) -> Result<TlsParameters, EmailFault> {
    let trusting = |authorities| {
        let parameters = TlsParameters::builder(host.to_owned());
        parameters.certificate_store(authorities).build()
    };
    trusting(CertificateStore::Default)
        .or_else(|_| trusting(CertificateStore::WebpkiRoots))
        .map_err(|fault| EmailFault::Tls(fault.to_string()))
}

fn one_line(text: &str) -> String {
    text.split(char::is_control).collect::<Vec<_>>().join(" ")
}

fn text(notice: &NoticeRecord) -> String {
    use std::fmt::Write;
    let mut text = format!("{}\n\n", one_line(&notice.title));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "What:      {}", notice.kind);
    let _ = writeln!(text, "About:     {}", notice.target);
    let _ = writeln!(
        text,
        "Workspace: {}",
        notice.workspace.text(Kind::Workspace)
    );
    let _ = writeln!(text, "Noticed:   {}", notice.at);
    if let Some(due) = notice.due_at {
        let _ = writeln!(text, "Due:       {due}");
    }
    let _ = writeln!(text, "Notice:    {}", notice.id.text(Kind::Notice));
    text
}

#[cfg(test)]
mod tests;
